#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dormer/comm/communicator.hpp"
#include "dormer/parallel/plan.hpp"
#include "dormer/parallel/reducer.hpp"

namespace dormer::parallel {

/// Seeded gradients of leaves: normal values, subnormals, zeros of both signs, huge and tiny ones side by side.
[[nodiscard]] std::vector<std::vector<float>> random_leaves(std::int64_t leaves, std::int64_t flat_size,
                                                            std::uint64_t seed);

/// The sum of leaves [begin, end) by the definition of the tree, written as the recursion that it is.
[[nodiscard]] std::vector<float> tree_sum(const std::vector<std::vector<float>>& leaves, std::size_t begin,
                                          std::size_t end);

[[nodiscard]] LeafLoss loss_of(std::int64_t leaf);

/// What all ranks found for one update, gathered in one place.
struct UpdateOutcome {
  std::vector<float> gradient;  ///< the whole one, put together from the slices
  double squared_norm = 0.0;
  double loss_sum = 0.0;
  std::int64_t tokens = 0;
};

/// One update on this rank over the given leaves' gradients, with the traced bytes compared with the formula; the
/// gradient is gathered as updated slices would be.
[[nodiscard]] UpdateOutcome run_update(const ReductionPlan& plan, comm::Communicator& communicator,
                                       const std::vector<std::vector<float>>& leaves, int updates = 1);

/// Expects that two arrays have the same bits.
void expect_same_bits(const std::vector<float>& actual, const std::vector<float>& expected, const std::string& what);

}  // namespace dormer::parallel
