#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
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
  double pace = 0.0;     ///< seconds that one of its micro-batches took
};

/// How the ranks of an update are joined, and where its flat buffers lie. Both communicators know the same ranks and
/// outlive whoever gets this.
struct Links {
  Links(comm::Communicator& all) : host(all), gradients(all) {}  // implicit: on a CPU there is one communicator
  Links(comm::Communicator& of_host, comm::Communicator& of_device, std::string place)
      : host(of_host), gradients(of_device), device(std::move(place)) {}

  comm::Communicator& host;       ///< of host memory, for what is small: norms, losses, flags
  comm::Communicator& gradients;  ///< of the device's memory; on a CPU the same one
  std::string device = "cpu";     ///< as LibTorch writes it
};

/// One update's gradient and what all ranks know about it. Except for `gradient`, equal on all ranks, bit by bit.
struct ReducedGradient {
  std::span<float> gradient;      ///< `ReductionPlan::gradient_of(rank)`, on the device; valid until the next update
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
/// Use from one thread, the communicators' own: the one that constructs it and trains; no two calls may overlap. Only
/// `announce` may come from another. LibTorch runs a backward pass on the CPU in the thread that called it
/// (recomputation too), so there `announce` may send, and from any other thread takes note only: its own thread sends
/// later. On a device the pass runs in LibTorch's thread of that device while its own thread waits for it, so
/// `announce` sends from there: the communicator of device memory is nobody else's meanwhile, and the one of host
/// memory is not touched. Additions and sums run as kernels on the device's current stream; `reduce` copies the blocks'
/// sums of squares to the host, once. Plan and communicators must outlive it.
class GradientReducer {
 public:
  virtual ~GradientReducer() = default;
  /// The flat buffer that the next leaf's backward passes add to: `flat_size` elements of the device's memory, aligned
  /// to 64 bytes.
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
[[nodiscard]] std::unique_ptr<GradientReducer> gradient_reducer(const ReductionPlan& plan, const Links& links);

/// Gathers what every rank has written into its slice of `values` (the whole flat space, in the communicator's memory),
/// in place.
void gather_slices(comm::Communicator& communicator, const SlicePlan& slices, std::span<float> values);

/// Everybody's `own` numbers in rank order; `counts` says how many each rank brings. For sums in a fixed order, such as
/// validation losses.
[[nodiscard]] std::vector<double> gather_in_rank_order(comm::Communicator& communicator, std::span<const double> own,
                                                       std::span<const std::int64_t> counts);

/// The sum of squares of up to `kNormBlock` values in fp64, in an order that depends on nothing but their positions.
[[nodiscard]] double sum_of_squares(std::span<const float> block);

}  // namespace dormer::parallel
