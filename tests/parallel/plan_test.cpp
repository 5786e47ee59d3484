#include "dormer/parallel/plan.hpp"

#include <algorithm>
#include <map>
#include <numeric>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"

namespace dormer::parallel {
namespace {

using ::testing::ElementsAre;

TEST(PlanSlices, WholeBlocksTheFirstRanksHoldOneMore) {
  EXPECT_THAT(plan_slices(7 * kNormBlock, 3).counts(), ElementsAre(3 * kNormBlock, 2 * kNormBlock, 2 * kNormBlock));
  EXPECT_THAT(plan_slices(2 * kNormBlock, 4).counts(), ElementsAre(kNormBlock, kNormBlock, 0, 0));
}

TEST(PlanSlices, RefusesPartsOfBlocks) {
  EXPECT_THROW((void)plan_slices(kNormBlock + 1, 2), Error);
}

TEST(PlanExchange, EveryOwnerGetsEveryOtherPartialSumOnce) {
  for (int ranks = 1; ranks <= 8; ++ranks) {
    const ReductionPlan plan = plan_reduction({.micro_batches = 64, .flat_size = 6 * kNormBlock, .ranks = ranks});
    for (int rank = 0; rank < ranks; ++rank) {
      const RankExchange& own = plan.exchange[static_cast<std::size_t>(rank)];
      std::size_t expected = 0;
      for (int other = 0; other < ranks; ++other) {
        const auto subtrees = subtrees_of(plan.shares[static_cast<std::size_t>(other)], 64);
        const bool has_slice = plan.slices.slices[static_cast<std::size_t>(rank)].count() > 0;
        expected += other != rank && has_slice ? subtrees.size() : 0;
        // Messages between two ranks stand in the same order on both sides.
        std::vector<PartialSum> sent;
        std::vector<PartialSum> received;
        for (const PartialSum& message : plan.exchange[static_cast<std::size_t>(other)].sends) {
          if (message.peer == rank) {
            sent.push_back({0, message.subtree, message.slice});
          }
        }
        for (const PartialSum& message : own.receives) {
          if (message.peer == other) {
            received.push_back({0, message.subtree, message.slice});
          }
        }
        EXPECT_EQ(sent, received) << "from " << other << " to " << rank << " of " << ranks;
      }
      EXPECT_EQ(own.receives.size(), expected);
    }
  }
}

TEST(PlanReduction, SaysWhichMicroBatchesARankComputes) {
  const ReductionPlan plan = plan_reduction({.micro_batches = 65, .flat_size = kNormBlock, .ranks = 2});
  EXPECT_EQ(plan.micro_batches_of(0).begin, 0);
  EXPECT_EQ(plan.micro_batches_of(0).end, plan.micro_batches_of(1).begin);
  EXPECT_EQ(plan.micro_batches_of(1).end, 65);
}

TEST(BytesPerUpdate, PowersOfTwoCostOnePartialSumPerRank) {
  const std::int64_t size = 8 * kNormBlock;
  const ReductionPlan plan = plan_reduction({.micro_batches = 64, .flat_size = size, .ranks = 4});
  const comm::Trace trace = bytes_per_update(plan, 2);
  // Three quarters of one buffer leave each rank, as in a plain reduce-scatter.
  EXPECT_EQ(trace.of(comm::Operation::kExchange).bytes_sent, size * 3 / 4 * 4);
  EXPECT_EQ(trace.of(comm::Operation::kExchange).bytes_received, size * 3 / 4 * 4);
  const std::int64_t summary = (2 + 2 * 16 + 4) * 8;
  EXPECT_EQ(trace.of(comm::Operation::kAllGather).bytes_sent, summary + size / 4 * 4);
}

TEST(PlanBuckets, CoverTheFlatSpaceFromItsEndInWholeNormBlocks) {
  for (std::int64_t blocks = 1; blocks <= 40; ++blocks) {
    for (const int ranks : {1, 3, 8}) {
      const SlicePlan slices = plan_slices(blocks * kNormBlock, ranks);
      const std::vector<Bucket> buckets = plan_buckets(slices, {});
      ASSERT_LE(std::ssize(buckets), kMaxBuckets);
      std::int64_t end = slices.size;
      std::vector<std::int64_t> owned(static_cast<std::size_t>(ranks));
      for (const Bucket& bucket : buckets) {
        ASSERT_EQ(bucket.elements.end, end);
        ASSERT_EQ(bucket.elements.count() % kNormBlock, 0);
        ASSERT_EQ(std::accumulate(bucket.counts.begin(), bucket.counts.end(), std::int64_t{0}),
                  bucket.elements.count());
        std::transform(owned.begin(), owned.end(), bucket.counts.begin(), owned.begin(), std::plus<>());
        end = bucket.elements.begin;
      }
      ASSERT_EQ(end, 0);
      ASSERT_EQ(owned, slices.counts()) << "every rank gets its slice, " << blocks << " blocks on " << ranks;
    }
  }
}

TEST(PlanBuckets, KnowTheParametersThatLieInThemEvenInPart) {
  const SlicePlan slices = plan_slices(9 * kNormBlock, 2);  // buckets of two blocks, the last of one
  const std::vector<Range> slots{
      {0, 100}, {128, kNormBlock}, {kNormBlock, 5 * kNormBlock + 1}, {6 * kNormBlock, 7 * kNormBlock}};
  std::vector<Range> found;
  for (const Bucket& bucket : plan_buckets(slices, slots)) {
    found.push_back(bucket.slots);
  }
  EXPECT_THAT(found, ElementsAre(Range{4, 4}, Range{2, 4}, Range{2, 3}, Range{2, 3}, Range{0, 2}));
}

TEST(BytesPerUpdate, BucketsCostTheBytesOfOneReduceScatter) {
  const std::int64_t size = 19 * kNormBlock;
  for (int rank = 0; rank < 4; ++rank) {
    const ReductionPlan plan =
        plan_reduction({.reduction = Reduction::kFast, .micro_batches = 8, .flat_size = size, .ranks = 4});
    const comm::Trace trace = bytes_per_update(plan, rank);
    const comm::Trace::Count& count = trace.of(comm::Operation::kReduceScatter);
    const std::int64_t own = plan.slices.slices[static_cast<std::size_t>(rank)].count();
    EXPECT_EQ(count.calls, 7);  // three blocks each
    EXPECT_EQ(count.bytes_sent, (size - own) * 4);
    EXPECT_EQ(count.bytes_received, own * 4);
  }
}

TEST(BytesPerUpdate, OneRankMovesNothing) {
  EXPECT_EQ(bytes_per_update(plan_reduction({.micro_batches = 9, .flat_size = kNormBlock}), 0).total(),
            comm::Trace::Count{});
}

}  // namespace
}  // namespace dormer::parallel
