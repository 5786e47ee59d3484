#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "dormer/comm/communicator.hpp"
#include "dormer/parallel/plan.hpp"

namespace dormer::parallel {

/// The loss of one leaf: the sum over its tokens (or samples) and their number.
struct LeafLoss {
  double loss_sum = 0.0;
  std::int64_t tokens = 0;
};

/// What a rank tells the others with each update.
struct RankReport {
  bool stop = false;     ///< somebody asked this process to end
  int error = 0;         ///< exit code of what went wrong since the last update; 0: nothing
  double seconds = 0.0;  ///< since the run started, by this rank's clock
};

/// One update's gradient and what all ranks know about it. Except for `gradient`, equal on all ranks, bit by bit.
struct ReducedGradient {
  std::span<float> gradient;      ///< `ReductionPlan::gradient_of(rank)`; valid until the next `next_leaf_buffer`
  double squared_norm = 0.0;      ///< of the whole gradient
  LeafLoss loss;                  ///< sum over the leaves in their order
  bool finite = true;             ///< false: some gradient or loss is not; do not update
  bool stop = false;              ///< of any rank
  int error = 0;                  ///< the largest of the ranks'; other than 0: the gradient means nothing
  int error_rank = -1;            ///< the first rank with that error
  double seconds = 0.0;           ///< the largest of the ranks'
  std::vector<LeafLoss> leaves;   ///< every leaf's
  std::vector<RankReport> ranks;  ///< every rank's
};

/// Sums the gradients of an update over leaves and ranks. For each leaf of the own share, in order: backward passes add
/// into `next_leaf_buffer`, then `complete_leaf`. Then all ranks call `reduce`. During the last backward pass of the
/// share `announce` may say which parameters are done; the fast reduction then sends what is complete.
/// Use from one thread, the communicator's own: the one that constructs it and trains. LibTorch runs a backward pass on
/// the CPU in the thread that called it (recomputation too), so `announce` may send. From any other thread it takes
/// note only, and its own thread sends later; no two calls may overlap. Plan and communicator must outlive it.
class GradientReducer {
 public:
  virtual ~GradientReducer() = default;
  /// The flat buffer that the next leaf's backward passes add to: `flat_size` elements, aligned to 64 bytes.
  [[nodiscard]] virtual std::span<float> next_leaf_buffer() = 0;
  /// The gradient of parameter `slot` (index in `ReductionRequest::slots`) is whole: nothing more is added to it before
  /// `reduce`. Parameters that are not announced count as they stand when `reduce` is called: zero if nothing was
  /// added.
  virtual void announce(std::size_t slot) = 0;
  virtual void complete_leaf(const LeafLoss& loss) = 0;
  /// Ends the update. A rank whose report carries an error may call it with leaves missing, so that all hear of it.
  [[nodiscard]] virtual ReducedGradient reduce(const RankReport& report) = 0;
};

/// As `plan.request.reduction` says. Exact: the same bits for every number of ranks from 1 to the number of leaves, on
/// processors that compute a leaf alike.
[[nodiscard]] std::unique_ptr<GradientReducer> gradient_reducer(const ReductionPlan& plan,
                                                                comm::Communicator& communicator);

/// Gathers what every rank has written into its slice of `values` (the whole flat space), in place.
void gather_slices(comm::Communicator& communicator, const SlicePlan& slices, std::span<float> values);

/// Everybody's `own` numbers in rank order; `counts` says how many each rank brings. For sums in a fixed order, such as
/// validation losses.
[[nodiscard]] std::vector<double> gather_in_rank_order(comm::Communicator& communicator, std::span<const double> own,
                                                       std::span<const std::int64_t> counts);

/// The sum of squares of up to `kNormBlock` values in fp64, in an order that depends on nothing but their positions.
[[nodiscard]] double sum_of_squares(std::span<const float> block);

}  // namespace dormer::parallel
