#include "dormer/parallel/leaves.hpp"

#include <algorithm>
#include <string>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"

namespace dormer::parallel {

void PrintTo(const Range& range, std::ostream* stream) {
  *stream << "[" << range.begin << ", " << range.end << ")";
}

namespace {

using ::testing::ElementsAre;

std::int64_t partial_sums(const std::vector<Range>& shares) {
  std::int64_t sum = 0;
  for (const Range& share : shares) {
    sum += std::ssize(subtrees_of(share, shares.back().end));
  }
  return sum;
}

TEST(PlanLeaves, OneMicroBatchEachUpToSixtyFour) {
  EXPECT_THAT(plan_leaves(3), ElementsAre(Range{0, 1}, Range{1, 2}, Range{2, 3}));
  EXPECT_EQ(plan_leaves(64).size(), 64U);
}

TEST(PlanLeaves, LongerRunsBeyond) {
  EXPECT_EQ(plan_leaves(65).size(), 33U);
  EXPECT_EQ(plan_leaves(65).front(), (Range{0, 2}));
  EXPECT_EQ(plan_leaves(65).back(), (Range{64, 65}));
  for (std::int64_t micro_batches = 1; micro_batches <= 1'000; ++micro_batches) {
    const std::vector<Range> leaves = plan_leaves(micro_batches);
    ASSERT_LE(std::ssize(leaves), kMaxLeaves);
    std::int64_t next = 0;
    for (const Range& leaf : leaves) {
      ASSERT_EQ(leaf.begin, next);
      ASSERT_GT(leaf.end, leaf.begin);
      next = leaf.end;
    }
    ASSERT_EQ(next, micro_batches);
  }
}

TEST(FixedTree, LeftSubtreeIsTheLargestPowerOfTwoBelow) {
  EXPECT_EQ(split_of({0, 2}), 1);
  EXPECT_EQ(split_of({0, 7}), 4);
  EXPECT_EQ(split_of({4, 7}), 6);
  EXPECT_EQ(split_of({0, 8}), 4);
  EXPECT_EQ(split_of({0, 33}), 32);
}

TEST(FixedTree, SubtreesOfAShareAreTheLargestInside) {
  EXPECT_THAT(subtrees_of({0, 64}, 64), ElementsAre(Range{0, 64}));
  EXPECT_THAT(subtrees_of({24, 48}, 64), ElementsAre(Range{24, 32}, Range{32, 48}));
  EXPECT_THAT(subtrees_of({1, 8}, 8), ElementsAre(Range{1, 2}, Range{2, 4}, Range{4, 8}));
  // The last subtree of a tree that is no power of two is larger than it looks: [4, 7) is one node of seven leaves.
  EXPECT_THAT(subtrees_of({4, 7}, 7), ElementsAre(Range{4, 7}));
  EXPECT_THAT(subtrees_of({4, 6}, 7), ElementsAre(Range{4, 6}));
}

TEST(FixedTree, CarriesAreThoseOfABinaryCounter) {
  // After each leaf of 7: 1, 10, 11, 100, then the rest merges from the right when the last leaf is there.
  const int expected[] = {0, 1, 0, 2, 0, 1, 2};
  for (std::int64_t leaf = 0; leaf < 7; ++leaf) {
    EXPECT_EQ(carries_after(leaf, {0, 7}), expected[leaf]) << leaf;
  }
}

TEST(FixedTree, AShareThatIsOneSubtreeNeedsLog2PlusOneBuffers) {
  EXPECT_EQ(peak_buffers({0, 64}, 64), 7);
  EXPECT_EQ(peak_buffers({32, 64}, 64), 6);
  EXPECT_EQ(peak_buffers({0, 1}, 64), 1);
  EXPECT_EQ(peak_buffers({0, 24}, 64), 5);
}

TEST(ShareLeaves, CutsAtLargerSubtreesWhereThatCostsLittle) {
  EXPECT_THAT(share_leaves(64, 3), ElementsAre(Range{0, 24}, Range{24, 48}, Range{48, 64}));
  EXPECT_EQ(partial_sums(share_leaves(64, 3)), 5);
  EXPECT_THAT(share_leaves(64, 2), ElementsAre(Range{0, 32}, Range{32, 64}));
  EXPECT_THAT(share_leaves(4, 3), ElementsAre(Range{0, 2}, Range{2, 3}, Range{3, 4}));
  EXPECT_EQ(partial_sums(share_leaves(64, 64)), 64);
}

TEST(ShareLeaves, CoversAllLeavesWithSharesNearTheSmallestPossible) {
  for (std::int64_t leaves = 1; leaves <= kMaxLeaves; ++leaves) {
    for (int ranks = 1; ranks <= std::min<std::int64_t>(leaves, 16); ++ranks) {
      const std::vector<Range> shares = share_leaves(leaves, ranks);
      ASSERT_EQ(std::ssize(shares), ranks);
      const std::int64_t smallest = (leaves + ranks - 1) / ranks;
      std::int64_t next = 0;
      for (const Range& share : shares) {
        ASSERT_EQ(share.begin, next);
        ASSERT_GE(share.count(), 1);
        ASSERT_LE(share.count(), smallest + smallest / 8);
        next = share.end;
        // The share's subtrees cover it.
        std::int64_t covered = share.begin;
        for (const Range& subtree : subtrees_of(share, leaves)) {
          ASSERT_EQ(subtree.begin, covered);
          covered = subtree.end;
        }
        ASSERT_EQ(covered, share.end);
      }
      ASSERT_EQ(next, leaves);
    }
  }
}

TEST(ShareLeaves, MoreRanksThanLeavesIsAUsageErrorWithARemedy) {
  try {
    (void)share_leaves(4, 5);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kUsage);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("start at most 4 ranks, or raise batch.global"));
  }
}

}  // namespace
}  // namespace dormer::parallel
