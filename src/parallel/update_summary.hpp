#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dormer/comm/communicator.hpp"
#include "dormer/parallel/plan.hpp"
#include "dormer/parallel/reducer.hpp"

namespace dormer::parallel {

/// Doubles that each rank brings to the small all-gather of an update: the square sums of its slice's blocks, loss and
/// tokens of its leaves, and its report.
[[nodiscard]] std::vector<std::int64_t> summary_counts(const ReductionPlan& plan);

/// What one rank knows after its part of the reduction.
struct RankSummary {
  std::vector<double> block_squares;  ///< of the own slice's blocks
  std::vector<LeafLoss> leaves;       ///< of the own share
  RankReport report;
};

/// Gathers every rank's summary and combines them in an order that does not depend on the ranks: blocks and leaves by
/// index. Leaves `ReducedGradient::gradient` empty.
[[nodiscard]] ReducedGradient gather_summaries(const ReductionPlan& plan, comm::Communicator& communicator,
                                               const RankSummary& own);

}  // namespace dormer::parallel
