#include "dormer/parallel/reducer.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "dormer/comm/single.hpp"
#include "dormer/comm/threads.hpp"
#include "dormer/core/error.hpp"
#include "dormer/kernels/kernels.hpp"
#include "dormer/tensor/process.hpp"
#include "parallel/tree_reference.hpp"

namespace dormer::parallel {
namespace {

/// As in a run: ranks that are threads of one process would each bring a team of LibTorch's threads.
class OneThread final : public ::testing::Environment {
  void SetUp() override { tensor::configure_process(1); }
};
const ::testing::Environment* const one_thread = ::testing::AddGlobalTestEnvironment(new OneThread);

std::uint64_t bits(double value) {
  return std::bit_cast<std::uint64_t>(value);
}

double norm_by_definition(const std::vector<float>& gradient) {
  double sum = 0.0;
  for (std::size_t first = 0; first < gradient.size(); first += kNormBlock) {
    sum += sum_of_squares(std::span(gradient).subspan(first, kNormBlock));
  }
  return sum;
}

TEST(ExactReduction, SameBitsForEveryNumberOfRanksAndLeaves) {
  const std::int64_t flat_size = 5 * kNormBlock;  // fewer blocks than ranks: some slices are empty
  const std::vector<std::vector<float>> all_leaves = random_leaves(kMaxLeaves, flat_size, 11);
  for (std::int64_t leaves = 1; leaves <= kMaxLeaves; ++leaves) {
    const std::vector<float> expected = tree_sum(all_leaves, 0, static_cast<std::size_t>(leaves));
    const double expected_norm = norm_by_definition(expected);
    double expected_loss = 0.0;
    for (std::int64_t leaf = 0; leaf < leaves; ++leaf) {
      expected_loss += loss_of(leaf).loss_sum;
    }
    for (int ranks = 1; ranks <= std::min<std::int64_t>(leaves, 8); ++ranks) {
      const ReductionPlan plan = plan_reduction({.shard_optimizer = (leaves + ranks) % 2 == 0,
                                                 .micro_batches = leaves,
                                                 .flat_size = flat_size,
                                                 .ranks = ranks});
      comm::ThreadWorld{ranks}.run([&](comm::Communicator& communicator) {
        const UpdateOutcome outcome = run_update(plan, communicator, all_leaves);
        expect_same_bits(outcome.gradient, expected, fmt::format("{} leaves on {} ranks", leaves, ranks));
        EXPECT_EQ(bits(outcome.squared_norm), bits(expected_norm)) << leaves << " on " << ranks;
        EXPECT_EQ(bits(outcome.loss_sum), bits(expected_loss)) << leaves << " on " << ranks;
        EXPECT_EQ(outcome.tokens, 100 * leaves + leaves * (leaves - 1) / 2);
      });
      ASSERT_FALSE(HasFailure());
    }
  }
}

TEST(ExactReduction, SharedAmongManyRanksToo) {
  const std::int64_t flat_size = 3 * kNormBlock;
  const std::vector<std::vector<float>> leaves = random_leaves(40, flat_size, 12);
  const std::vector<float> expected = tree_sum(leaves, 0, 40);
  for (const int ranks : {17, 23, 40}) {
    const ReductionPlan plan = plan_reduction({.micro_batches = 40, .flat_size = flat_size, .ranks = ranks});
    comm::ThreadWorld{ranks}.run([&](comm::Communicator& communicator) {
      expect_same_bits(run_update(plan, communicator, leaves).gradient, expected, fmt::format("{} ranks", ranks));
    });
  }
}

TEST(ExactReduction, BuffersOfOneUpdateDoNotLeakIntoTheNext) {
  const std::vector<std::vector<float>> leaves = random_leaves(6, 2 * kNormBlock, 13);
  const std::vector<float> expected = tree_sum(leaves, 0, 6);
  for (const bool sharded : {true, false}) {
    for (const int ranks : {1, 2, 3}) {
      const ReductionPlan plan =
          plan_reduction({.shard_optimizer = sharded, .micro_batches = 6, .flat_size = 2 * kNormBlock, .ranks = ranks});
      comm::ThreadWorld{ranks}.run([&](comm::Communicator& communicator) {
        expect_same_bits(run_update(plan, communicator, leaves, 4).gradient, expected, fmt::format("{} ranks", ranks));
      });
    }
  }
}

TEST(FastReduction, AgreesWithTheExactOneUpToRounding) {
  const std::int64_t flat_size = 4 * kNormBlock;
  std::vector<std::vector<float>> leaves = random_leaves(8, flat_size, 14);
  for (auto& leaf : leaves) {
    for (float& value : leaf) {
      value = std::abs(value) < 10.0F ? value : 1.0F;
    }
  }
  const std::vector<float> expected = tree_sum(leaves, 0, 8);
  for (const bool sharded : {true, false}) {
    for (const int ranks : {1, 2, 3, 4}) {
      const ReductionPlan plan = plan_reduction({.reduction = Reduction::kFast,
                                                 .shard_optimizer = sharded,
                                                 .micro_batches = 8,
                                                 .flat_size = flat_size,
                                                 .ranks = ranks});
      comm::ThreadWorld{ranks}.run([&](comm::Communicator& communicator) {
        const UpdateOutcome outcome = run_update(plan, communicator, leaves, 2);
        for (std::size_t i = 0; i < expected.size(); ++i) {
          // Seven additions of values below 10, in another order: each may round by half a unit at 2^7.
          ASSERT_NEAR(outcome.gradient[i], expected[i], 7 * 2 * 0x1p-18) << i;
        }
      });
    }
  }
}

ReducedGradient reduce_with(comm::Communicator& communicator, const ReductionPlan& plan, float value, LeafLoss loss,
                            const RankReport& report) {
  const auto reducer = gradient_reducer(plan, communicator);
  const Range share = plan.shares[static_cast<std::size_t>(communicator.rank())];
  for (std::int64_t leaf = share.begin; leaf < share.end; ++leaf) {
    reducer->next_leaf_buffer()[100] += value;
    reducer->complete_leaf(loss);
  }
  ReducedGradient result = reducer->reduce(report);
  result.gradient = {};
  return result;
}

class EveryReduction : public ::testing::TestWithParam<Reduction> {
 protected:
  static ReductionPlan plan_for(int ranks) {
    return plan_reduction({.reduction = GetParam(), .micro_batches = 6, .flat_size = 3 * kNormBlock, .ranks = ranks});
  }
};

TEST_P(EveryReduction, AllRanksSeeOneRanksNonFiniteGradient) {
  const ReductionPlan plan = plan_for(3);
  for (const float poison : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    comm::ThreadWorld{3}.run([&](comm::Communicator& communicator) {
      const bool poisoned = communicator.rank() == 2;
      EXPECT_FALSE(reduce_with(communicator, plan, poisoned ? poison : 1.0F, {1.0, 1}, {}).finite);
      EXPECT_FALSE(reduce_with(communicator, plan, 1.0F, {poisoned ? double{poison} : 1.0, 1}, {}).finite);
      EXPECT_TRUE(reduce_with(communicator, plan, 3e38F * (poisoned ? 0.1F : 0.0F), {1.0, 1}, {}).finite);
    });
  }
}

TEST_P(EveryReduction, StopTimeAndErrorTravelWithTheNorm) {
  const ReductionPlan plan = plan_for(3);
  comm::ThreadWorld{3}.run([&](comm::Communicator& communicator) {
    const int rank = communicator.rank();
    const ReducedGradient result =
        reduce_with(communicator, plan, 2.0F, {0.25, 7}, {.stop = rank == 1, .error = 0, .seconds = 10.0 + rank});
    EXPECT_TRUE(result.stop);
    EXPECT_EQ(result.error, 0);
    EXPECT_EQ(result.error_rank, -1);
    EXPECT_EQ(result.seconds, 12.0);
    EXPECT_EQ(result.squared_norm, 144.0);
    EXPECT_EQ(result.loss.loss_sum, 6 * 0.25);
    EXPECT_EQ(result.loss.tokens, 42);
    ASSERT_EQ(result.ranks.size(), 3U);
    EXPECT_EQ(result.ranks[0].seconds, 10.0);
    EXPECT_FALSE(result.ranks[0].stop);
    EXPECT_EQ(result.leaves.size(), 6U);
  });
}

TEST_P(EveryReduction, ARankThatFailedInTheMiddleTellsTheOthersInsteadOfHangingThem) {
  const ReductionPlan plan = plan_for(3);
  comm::ThreadWorld{3}.run([&](comm::Communicator& communicator) {
    const auto reducer = gradient_reducer(plan, communicator);
    const Range share = plan.shares[static_cast<std::size_t>(communicator.rank())];
    RankReport report;
    for (std::int64_t leaf = share.begin; leaf < share.end; ++leaf) {
      (void)reducer->next_leaf_buffer();
      if (communicator.rank() == 1) {
        report.error = static_cast<int>(Fault::kInput);
        break;
      }
      reducer->complete_leaf({1.0, 1});
    }
    const ReducedGradient result = reducer->reduce(report);
    EXPECT_EQ(result.error, 3);
    EXPECT_EQ(result.error_rank, 1);
  });
}

TEST_P(EveryReduction, AMissingLeafIsOurBug) {
  const ReductionPlan plan = plan_for(1);
  const auto alone = comm::single();
  const auto reducer = gradient_reducer(plan, *alone);
  EXPECT_THROW((void)reducer->reduce({}), Error);
  EXPECT_THROW(reducer->complete_leaf({}), Error);
}

INSTANTIATE_TEST_SUITE_P(Reductions, EveryReduction, ::testing::Values(Reduction::kExact, Reduction::kFast),
                         [](const auto& reduction) { return reduction.param == Reduction::kExact ? "exact" : "fast"; });

TEST(SumOfSquares, IsTheSumAndDoesNotOverflow) {
  std::vector<float> block(kNormBlock - 5);
  long double expected = 0.0L;
  for (std::size_t i = 0; i < block.size(); ++i) {
    block[i] = std::sin(static_cast<float>(i)) * (i % 3 == 0 ? 1e3F : 1.0F);
    expected += static_cast<long double>(block[i]) * static_cast<long double>(block[i]);
  }
  // n additions in fp64, each within half a unit.
  const double tolerance = static_cast<double>(expected) * kNormBlock * 0x1p-53;
  EXPECT_NEAR(sum_of_squares(block), static_cast<double>(expected), tolerance);
  const std::vector<float> huge(kNormBlock, std::numeric_limits<float>::max());
  EXPECT_TRUE(std::isfinite(sum_of_squares(huge)));
  EXPECT_EQ(sum_of_squares({}), 0.0);
}

/// A rank that reduces on its GPU must know the norm that a rank on a CPU knows.
TEST(SumOfSquares, HasTheBitsOfEveryImplementationOfTheKernels) {
  std::vector<float> values(3 * kNormBlock - 5);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = std::sin(static_cast<float>(i)) * (i % 3 == 0 ? 1e3F : 1.0F);
  }
  const std::unique_ptr<kernels::Kernels> loops[] = {kernels::host_loops(&tensor::for_parts), kernels::functor_loops()};
  for (const auto& implementation : loops) {
    std::vector<double> sums(3);
    implementation->run(kernels::SquaredBlocksArguments{values.data(), sums.data(), std::ssize(values), kNormBlock}, 3);
    for (std::size_t block = 0; block < sums.size(); ++block) {
      const std::span<const float> rest = std::span(values).subspan(block * kNormBlock);
      EXPECT_EQ(sums[block], sum_of_squares(rest.first(std::min<std::size_t>(rest.size(), kNormBlock))));
    }
  }
}

TEST(GatherInRankOrder, ConcatenatesUnevenParts) {
  comm::ThreadWorld{3}.run([](comm::Communicator& communicator) {
    const std::vector<std::int64_t> counts{2, 0, 1};
    const std::vector<double> parts[] = {{1.5, 2.5}, {}, {-1.0}};
    EXPECT_THAT(gather_in_rank_order(communicator, parts[communicator.rank()], counts),
                ::testing::ElementsAre(1.5, 2.5, -1.0));
  });
}

}  // namespace
}  // namespace dormer::parallel
