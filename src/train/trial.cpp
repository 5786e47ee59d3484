#include "train/trial.hpp"

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <optional>
#include <utility>

#include <ATen/core/Tensor.h>

#include "dormer/core/error.hpp"
#include "dormer/core/stop.hpp"
#include "dormer/optim/average.hpp"
#include "dormer/tensor/device_memory.hpp"
#include "train/packed_update.hpp"
#include "train/trace_file.hpp"

namespace dormer::train {
namespace {

/// What gathers the numbers of norm blocks from the owners of the slices. Links and plan must outlive it.
optim::GatherBlocks block_gatherer(const parallel::Links& links, const parallel::ReductionPlan& plan) {
  if (!plan.request.shard_optimizer) {
    return {};
  }
  return [&links, &plan](std::span<const double> own, std::int64_t per_block) {
    std::vector<std::int64_t> counts;
    for (const parallel::Range& slice : plan.slices.slices) {
      counts.push_back(slice.count() / parallel::kNormBlock * per_block);
    }
    return parallel::gather_in_rank_order(links.host, own, counts);
  };
}

optim::ElementRange slice_of(const parallel::ReductionPlan& plan, int rank) {
  return {plan.gradient_of(rank).begin, plan.gradient_of(rank).end};
}

parallel::ReductionRequest with_slots(parallel::ReductionRequest request, const tensor::FlatSpace& space) {
  for (const tensor::ParameterEntry& entry : space.entries()) {
    request.slots.push_back({entry.offset, entry.offset + entry.stored_count()});
  }
  return request;
}

std::vector<double> paces_of(const parallel::ReducedGradient& reduced) {
  std::vector<double> paces;
  for (const parallel::RankReport& rank : reduced.ranks) {
    paces.push_back(rank.pace);
  }
  return paces;
}

}  // namespace

parallel::Reduction chosen_reduction(const RunConfig& config, bool on_gpu) {
  const bool deterministic = !on_gpu || config.run.deterministic;
  const bool fast = config.parallel.reduction == "fast" || (config.parallel.reduction == "auto" && !deterministic);
  return fast ? parallel::Reduction::kFast : parallel::Reduction::kExact;
}

parallel::ReductionRequest reduction_request(const RunConfig& config, parallel::Reduction reduction,
                                             std::int64_t flat_size, int ranks) {
  const optim::OptimizerKind kind = optim::optimizer_registry().get("optimizer.kind", config.optimizer.kind);
  return {.reduction = reduction,
          .shard_optimizer = config.parallel.shard_optimizer && !kind.whole,
          .micro_batches = config.batch.global / config.batch.micro,
          .flat_size = flat_size,
          .ranks = ranks};
}

optim::OptimizerSettings optimizer_settings(const OptimizerSection& section) {
  return {
      .beta1 = section.betas.at(0),
      .beta2 = section.betas.at(1),
      .epsilon = section.epsilon,
      .factors = {section.learning_rate, section.weight_decay},
      .magnitudes = {section.magnitude.learning_rate.value_or(section.learning_rate), section.magnitude.weight_decay},
      .outer_factor_ratio = section.loraplus_ratio,
      .adafactor = {.relative_step = section.adafactor.relative_step,
                    .scale_parameter = section.adafactor.scale_parameter,
                    .decay_exponent = section.adafactor.decay_exponent,
                    .clip_threshold = section.adafactor.clip_threshold},
      .came = {.confidence_beta = section.came.confidence_beta, .clip_threshold = section.came.clip_threshold},
      .prodigy = {.initial_distance = section.prodigy.initial_distance,
                  .coefficient = section.prodigy.coefficient,
                  .growth_rate = section.prodigy.growth_rate,
                  .bias_correction = section.prodigy.bias_correction,
                  .safeguard_warmup = section.prodigy.safeguard_warmup}};
}

optim::ScheduleOptions schedule_options(const ScheduleSection& section) {
  return {.cycles = section.cycles, .power = section.power, .minimum_factor = section.minimum_factor};
}

std::unique_ptr<optim::Optimizer> make_optimizer(const RunConfig& config, const tensor::FlatSpace& space,
                                                 optim::ElementRange slice, const std::string& device,
                                                 optim::GatherBlocks gather_blocks) {
  const optim::OptimizerSettings settings = optimizer_settings(config.optimizer);
  const optim::OptimizerKind kind = optim::optimizer_registry().get("optimizer.kind", config.optimizer.kind);
  std::unique_ptr<optim::Optimizer> optimizer =
      kind({.settings = settings,
            .groups = optim::plan_groups(space.entries(), space.size(), settings),
            .slice = slice,
            .device = device,
            .entries = {space.entries().begin(), space.entries().end()},
            .gather_blocks = std::move(gather_blocks),
            .key = RandomKey{static_cast<std::uint64_t>(config.run.seed)}.child("optimizer")});
  if (const std::optional<AverageSection>& ema = config.optimizer.ema) {
    optimizer = optim::with_average(std::move(optimizer), {.decay = ema->decay, .every = ema->every}, device);
  }
  return optimizer;
}

Trial::Trial(const RunConfig& config, const Task& task, optim::ScheduleHorizon horizon, const parallel::Links& links,
             adapter::StartOrigin start)
    : batch_(config.batch),
      seed_{static_cast<std::uint64_t>(config.run.seed)},
      recompute_blocks_(config.run.recompute),
      computes_apart_(links.device == "cpu" || config.run.deterministic),
      learning_rate_(config.optimizer.learning_rate),
      maximum_norm_(config.optimizer.max_gradient_norm.value_or(0.0)),
      links_(links),
      adapters_(config.adapter, task.layers(), seed_, task.added_tokens(), start),
      schedule_(config.schedule.kind, horizon, schedule_options(config.schedule)),
      plan_(
          parallel::plan_reduction(with_slots(reduction_request(config, chosen_reduction(config, links.device != "cpu"),
                                                                adapters_.space().size(), links.host.size()),
                                              adapters_.space()))),
      reducer_(parallel::gradient_reducer(plan_, links_)),
      optimizer_(make_optimizer(config, adapters_.space(), slice_of(plan_, links.host.rank()), links_.device,
                                block_gatherer(links_, plan_))) {
  adapters_.space().listen([this](std::size_t index) {
    if (last_backward_) {
      reducer_->announce(index);
    }
  });
}

std::int64_t Trial::parameter_count() const {
  std::int64_t count = 0;
  for (const tensor::ParameterEntry& entry : adapters_.space().entries()) {
    count += entry.count();
  }
  return count;
}

Trial::~Trial() = default;

double Trial::begin_gradients(const UpdateInputs& inputs) {
  inputs.faults.reach("update", inputs.step);
  if (adapters_.has_dropout()) {
    adapters_.draw_dropout(seed_, inputs.step);
  }
  return static_cast<double>(std::max<std::int64_t>(inputs.task.targets({inputs.position, batch_.global}), 1));
}

void Trial::begin_leaf() {
  leaf_gradient_ = std::make_unique<at::Tensor>(tensor::borrowed(reducer_->next_leaf_buffer(), links_.device));
  adapters_.space().bind_gradient(*leaf_gradient_);
  leaf_loss_ = {};
}

adapter::Segment Trial::begin_micro_batch(const UpdateInputs& inputs, std::int64_t index, std::int64_t first_sample,
                                          bool last) {
  last_backward_ = last;
  adapter::Segment segment{.first_sample = first_sample, .samples = batch_.micro, .adapters = &adapters_};
  if (adapters_.has_dropout()) {
    segment.dropout_keys = adapter::dropout_keys(seed_, inputs.step, index * batch_.micro, batch_.micro);
  }
  return segment;
}

void Trial::end_micro_batch(const objective::LossSums& loss, UpdateTrace* trace) {
  last_backward_ = false;
  leaf_loss_.loss_sum += loss.loss_sum;
  leaf_loss_.tokens += loss.tokens;
  if (trace != nullptr) {
    trace->own_losses.push_back(loss.loss_sum);
    if (trace->backward_ended) {
      trace->backward_ended();
    }
  }
}

void Trial::end_leaf(const UpdateInputs& inputs) {
  if (inputs.faults.reach("gradient", inputs.step)) {
    leaf_gradient_->narrow(0, 0, 1).fill_(std::numeric_limits<float>::quiet_NaN());
  }
  reducer_->complete_leaf(leaf_loss_);
}

UpdateReport Trial::update(const UpdateInputs& inputs, UpdateTrace* trace) {
  const PackMember member{*this, inputs, trace};
  MemberOutcome outcome = std::move(update_together(std::span(&member, 1)).front());
  if (outcome.error) {
    std::rethrow_exception(outcome.error);
  }
  return std::move(outcome.report);
}

UpdateReport Trial::skipped_update(const UpdateInputs& inputs, const parallel::ReducedGradient& reduced) const {
  const std::string what = describe_not_finite(reduced);
  if (!inputs.may_skip) {
    fail_together(Fault::kNumerical,
                  "update {}: {}; nothing was changed: lower optimizer.learning_rate, or look at the data",
                  inputs.step + 1, what);
  }
  return {.loss = std::numeric_limits<double>::quiet_NaN(),
          .learning_rate = learning_rate_ * schedule_.factor(inputs.step),
          .gradient_norm = std::numeric_limits<double>::quiet_NaN(),
          .stop = reduced.stop,
          .skipped = what,
          .seconds = reduced.seconds,
          .paces = paces_of(reduced)};
}

UpdateReport Trial::finish_update(const UpdateInputs& inputs, UpdateTrace* trace, const std::optional<Failure>& failure,
                                  double seconds) {
  last_backward_ = false;
  const auto micro_batches = static_cast<double>(plan_.micro_batches_of(rank()).count());
  const parallel::ReducedGradient reduced = reducer_->reduce({.stop = stop_requested(),
                                                              .error = failure ? static_cast<int>(failure->fault) : 0,
                                                              .seconds = inputs.seconds,
                                                              .pace = seconds / std::max(micro_batches, 1.0)});
  if (reduced.error != 0) {
    throw_as_one(links_.host, static_cast<Fault>(reduced.error), reduced.error_rank, failure);
  }
  inputs.faults.reach("reduced", inputs.step);
  if (!reduced.finite) {
    return skipped_update(inputs, reduced);
  }
  const double norm = std::sqrt(reduced.squared_norm);
  const optim::UpdateScalars scalars{.step = inputs.step,
                                     .skipped = inputs.skipped,
                                     .schedule_factor = schedule_.factor(inputs.step),
                                     .gradient_scale = optim::clipping_scale(norm, maximum_norm_)};
  if (trace != nullptr) {
    record_gradient(*trace, links_, plan_, reduced.gradient);
  }
  apply(reduced.gradient, scalars);
  if (trace != nullptr) {
    record_after(*trace, adapters_);
  }
  return {.loss = reduced.loss.loss_sum / static_cast<double>(std::max<std::int64_t>(reduced.loss.tokens, 1)),
          .learning_rate = learning_rate_ * scalars.schedule_factor,
          .gradient_norm = norm,
          .stop = reduced.stop,
          .seconds = reduced.seconds,
          .paces = paces_of(reduced)};
}

void Trial::apply(std::span<const float> gradient, const optim::UpdateScalars& scalars) {
  optimizer_->update(own_values(), gradient, scalars);
  spread_values();
}

void Trial::average() {
  optimizer_->average(own_values());
  spread_values();
}

std::span<float> Trial::own_values() const {
  const optim::ElementRange slice = optimizer_->slice();
  return tensor::span_of(adapters_.space().values())
      .subspan(static_cast<std::size_t>(slice.begin), static_cast<std::size_t>(slice.count()));
}

void Trial::spread_values() {
  if (plan_.request.shard_optimizer) {
    parallel::gather_slices(links_.gradients, plan_.slices, tensor::span_of(adapters_.space().values()));
  }
  adapters_.space().mark_written();
  adapters_.refresh();
}

std::string Trial::describe_not_finite(const parallel::ReducedGradient& reduced) const {
  for (std::size_t leaf = 0; leaf < reduced.leaves.size(); ++leaf) {
    if (!std::isfinite(reduced.leaves[leaf].loss_sum)) {
      return fmt::format("the loss of micro-batches {} to {} is {}", plan_.leaves[leaf].begin,
                         plan_.leaves[leaf].end - 1, reduced.leaves[leaf].loss_sum);
    }
  }
  return fmt::format("the gradient is not finite (loss {})",
                     reduced.loss.loss_sum / static_cast<double>(reduced.loss.tokens));
}

}  // namespace dormer::train
