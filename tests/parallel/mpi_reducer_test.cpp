// The exact reduction between real processes.
#include <bit>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "parallel/tree_reference.hpp"
#include "support/mpi_world.hpp"

namespace dormer::parallel {
namespace {

TEST(MpiExactReduction, SameBitsAsTheTreeSummedInOneProcess) {
  comm::Communicator& communicator = testing::world();
  const std::int64_t flat_size = 9 * kNormBlock;
  for (const std::int64_t leaves : {4, 5, 8, 13, 33, 64}) {
    const std::vector<std::vector<float>> values = random_leaves(leaves, flat_size, 21);
    const std::vector<float> expected = tree_sum(values, 0, static_cast<std::size_t>(leaves));
    for (const bool sharded : {true, false}) {
      const ReductionPlan plan = plan_reduction(
          {.shard_optimizer = sharded, .micro_batches = leaves, .flat_size = flat_size, .ranks = communicator.size()});
      const UpdateOutcome outcome = run_update(plan, communicator, values, 2);
      expect_same_bits(outcome.gradient, expected, fmt::format("{} leaves", leaves));
      double norm = 0.0;
      for (std::size_t first = 0; first < expected.size(); first += kNormBlock) {
        norm += sum_of_squares(std::span(expected).subspan(first, kNormBlock));
      }
      EXPECT_EQ(std::bit_cast<std::uint64_t>(outcome.squared_norm), std::bit_cast<std::uint64_t>(norm));
    }
  }
}

TEST(MpiFastReduction, MovesTheBytesOfTheFormulaAndAgreesUpToRounding) {
  comm::Communicator& communicator = testing::world();
  const std::int64_t flat_size = 5 * kNormBlock;
  const std::vector<std::vector<float>> values(8, std::vector<float>(static_cast<std::size_t>(flat_size), 0.5F));
  for (const bool sharded : {true, false}) {
    const ReductionPlan plan = plan_reduction({.reduction = Reduction::kFast,
                                               .shard_optimizer = sharded,
                                               .micro_batches = 8,
                                               .flat_size = flat_size,
                                               .ranks = communicator.size()});
    const UpdateOutcome outcome = run_update(plan, communicator, values, 2);
    EXPECT_THAT(outcome.gradient, ::testing::Each(4.0F));  // exact in every order
  }
}

}  // namespace
}  // namespace dormer::parallel
