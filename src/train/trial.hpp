#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/comm/communicator.hpp"
#include "dormer/optim/optimizer.hpp"
#include "dormer/optim/schedule.hpp"
#include "dormer/parallel/reducer.hpp"
#include "dormer/train/run_config.hpp"
#include "train/agreement.hpp"
#include "train/fault_hooks.hpp"
#include "train/task.hpp"

namespace dormer::train {

struct UpdateTrace;

/// What a trial's update reads; equal on all ranks.
struct UpdateInputs {
  const Task& task;
  std::int64_t step = 0;      ///< of this update, counted from 0
  std::int64_t position = 0;  ///< of its first sample
  double seconds = 0.0;       ///< since the run started, by this rank's clock
  std::int64_t skipped = 0;   ///< updates before this one that changed nothing
  bool may_skip = false;      ///< what is not finite is passed over rather than an error
  FaultHooks faults = {};
};

/// What all ranks know after an update; equal on all of them.
struct UpdateReport {
  double loss = 0.0;
  double learning_rate = 0.0;
  double gradient_norm = 0.0;  ///< before clipping
  bool stop = false;           ///< some rank was asked to stop
  std::string skipped = {};    ///< why nothing was changed: what is not finite; empty: the update was made
  double seconds = 0.0;        ///< of the slowest rank
  std::vector<double> paces;   ///< of every rank: seconds that one of its micro-batches took
};

/// One experiment of a run: its adapters, schedule, optimizer and gradients. A run trains a pack of trials over one
/// frozen base (`update_together`).
class Trial {
 public:
  /// Plans and allocates on the model's device, which `links` names; the adapters are at their start, but for factors
  /// of frozen weights that are given later. The communicators must outlive the trial.
  Trial(const RunConfig& config, const Task& task, optim::ScheduleHorizon horizon, const parallel::Links& links,
        adapter::StartOrigin start = adapter::StartOrigin::kWeight);
  Trial(const Trial&) = delete;  // the reducer refers to the plan
  Trial& operator=(const Trial&) = delete;
  ~Trial();

  /// One update of the parameters, on all ranks together: gradients of the own leaves, exact sum, norm, clipping,
  /// optimizer. Throws the same error on every rank, with the parameters as they were, when something failed on any
  /// rank or, unless it may be skipped, a loss or gradient is not finite. With `trace` (on all ranks or on none)
  /// records what happened. The pack of one of `update_together`.
  UpdateReport update(const UpdateInputs& inputs, UpdateTrace* trace);

  /// Turns the parameters into the average that the optimizer keeps of them, on all ranks together, for
  /// `EvaluationPoint`, which turns them back.
  void average();

  [[nodiscard]] adapter::AdapterSet& adapters() { return adapters_; }
  [[nodiscard]] const adapter::AdapterSet& adapters() const { return adapters_; }
  [[nodiscard]] const BatchSection& batch() const { return batch_; }
  [[nodiscard]] optim::Optimizer& optimizer() { return *optimizer_; }
  [[nodiscard]] const parallel::ReductionPlan& plan() const { return plan_; }
  [[nodiscard]] const std::string& device() const { return links_.device; }  ///< of parameters and state
  /// Parameters without padding.
  [[nodiscard]] std::int64_t parameter_count() const;

  // The stages of an update, for `update_together`, which alone calls them.

  /// Before the first leaf: the draw of dropout. Returns what the losses' gradients are divided by.
  double begin_gradients(const UpdateInputs& inputs);
  /// Gradients are added to a fresh buffer from here on.
  void begin_leaf();
  /// This trial's rows of micro-batch `index`, which stand at `first_sample` of the pack's batch. `last`: no backward
  /// pass of this rank follows in this update.
  [[nodiscard]] adapter::Segment begin_micro_batch(const UpdateInputs& inputs, std::int64_t index,
                                                   std::int64_t first_sample, bool last);
  void end_micro_batch(const objective::LossSums& loss, UpdateTrace* trace);
  void end_leaf(const UpdateInputs& inputs);
  /// The exchange with the other ranks and the update itself. `failure`: what went wrong on this rank before.
  UpdateReport finish_update(const UpdateInputs& inputs, UpdateTrace* trace, const std::optional<Failure>& failure,
                             double seconds);
  [[nodiscard]] int rank() const { return links_.host.rank(); }
  [[nodiscard]] bool recomputes_blocks() const { return recompute_blocks_; }
  /// Whether a pack multiplies its rows with the frozen weights apart from the others': the bits of a product's rows
  /// may depend on how many they are, with some CPUs' libraries and on GPUs, and a CPU wins little by joining them.
  [[nodiscard]] bool computes_apart() const { return computes_apart_; }

 private:
  [[nodiscard]] UpdateReport skipped_update(const UpdateInputs& inputs, const parallel::ReducedGradient& reduced) const;
  void apply(std::span<const float> gradient, const optim::UpdateScalars& scalars);
  /// The parameters of the optimizer's slice.
  [[nodiscard]] std::span<float> own_values() const;
  /// Every rank has written its slice of the parameters: all get all, and norms follow.
  void spread_values();
  /// Which loss, or that it is the gradient.
  [[nodiscard]] std::string describe_not_finite(const parallel::ReducedGradient& reduced) const;

  BatchSection batch_;
  RandomKey seed_;
  bool recompute_blocks_;
  bool computes_apart_;
  double learning_rate_;
  double maximum_norm_;
  parallel::Links links_;
  adapter::AdapterSet adapters_;
  optim::Schedule schedule_;
  parallel::ReductionPlan plan_;
  std::unique_ptr<parallel::GradientReducer> reducer_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  std::unique_ptr<at::Tensor> leaf_gradient_;  ///< of the leaf under way
  parallel::LeafLoss leaf_loss_;
  bool last_backward_ = false;  ///< the backward pass now running is the last of the share: gradients are announced
};

/// As parallel.reduction says; auto is exact where a run is deterministic (on a CPU always), else fast. Pure.
[[nodiscard]] parallel::Reduction chosen_reduction(const RunConfig& config, bool on_gpu);

/// What the reduction of a run's gradients needs to know, but for the parameters' slots. Pure.
[[nodiscard]] parallel::ReductionRequest reduction_request(const RunConfig& config, parallel::Reduction reduction,
                                                           std::int64_t flat_size, int ranks);

/// The optimizer's settings as the configuration says. Pure.
[[nodiscard]] optim::OptimizerSettings optimizer_settings(const OptimizerSection& section);

/// The schedule's, likewise. Pure.
[[nodiscard]] optim::ScheduleOptions schedule_options(const ScheduleSection& section);

/// The optimizer of a slice of these parameters, its state on `device`. Null `gather_blocks`: the slice is everything.
[[nodiscard]] std::unique_ptr<optim::Optimizer> make_optimizer(const RunConfig& config, const tensor::FlatSpace& space,
                                                               optim::ElementRange slice, const std::string& device,
                                                               optim::GatherBlocks gather_blocks = {});

}  // namespace dormer::train
