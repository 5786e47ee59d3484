#include "train/loop.hpp"

#include <algorithm>
#include <charconv>

#include "dormer/comm/world.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/core/stop.hpp"
#include "train/agreement.hpp"
#include "train/checkpointing.hpp"
#include "train/evaluation_point.hpp"
#include "train/exporting.hpp"
#include "train/trace_file.hpp"
#include "train/validation.hpp"

namespace dormer::train {
namespace {

// Rank 0's answer for all: clocks differ, decisions must not.
std::optional<double> agree_on_seconds_allowed(comm::Communicator& communicator, const config::Duration& limit) {
  const std::string text = agree_on_text(communicator, [&] {
    const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    const std::optional<double> seconds = seconds_allowed(limit, comm::current_environment(), now);
    return seconds ? fmt::format("{}", *seconds) : std::string();
  });
  double seconds = 0.0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  return !text.empty() && code == std::errc{} ? std::optional(seconds) : std::nullopt;
}

void warn_not_saved(std::int64_t step, const std::string& why) {
  log::warn_together("step {} was not saved ({}); training goes on, earlier checkpoints are as they were", step, why);
}

}  // namespace

Loop::Loop(Preparation& prepared, const TrainOptions& options, RunReport& report, std::size_t lane)
    : run_(prepared),
      options_(options),
      report_(report),
      state_(prepared.state),
      start_(std::chrono::steady_clock::now()),
      writer_(prepared.paths, prepared.lock.get(), prepared.config.checkpoint, prepared.faults),
      first_step_(prepared.state.step),
      lane_(lane) {
  state_.trainable_parameters = run_.trial->parameter_count();
  seconds_allowed_ = agree_on_seconds_allowed(run_.communicator, run_.config.run.time_limit);
  const Clock now{.step = state_.step, .position = state_.position, .seconds = 0.0};
  facts_.now = facts_.last_validation = facts_.last_checkpoint = now;
  facts_.last_exports.assign(run_.config.exports.size(), now);
  facts_.total_steps = state_.total_steps;
  facts_.global_batch = run_.config.batch.global;
  facts_.samples = run_.task->samples();
  facts_.has_validation = run_.task->validation_samples() > 0;
  facts_.seconds_allowed = seconds_allowed_;
  facts_.until = options.until;
}

double Loop::elapsed() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void Loop::begin() {
  log::info("training {} parameters of {} sites, updates {} to {}", run_.trial->parameter_count(),
            run_.trial->adapters().site_indices().size(), state_.step + 1, state_.total_steps);
  validate_before_updates();
  if (state_.step == 0 && !stopped_) {
    make_pictures();
  }
  // A life that was killed between its pause and whoever waited for it.
  paused_ = !state_.finished && !stopped_ && options_.until && state_.step >= *options_.until;
}

TrainResult Loop::finish() {
  run_.enter(Heartbeat::Phase::kIo, "closing the run");
  if (!options_.bare) {
    const EvaluationPoint evaluation(*run_.trial);
    report_.measure_layers();
  }
  if (!stopped_ && !paused_) {
    export_at_end();
  }
  return result();
}

void Loop::validate_before_updates() {
  const bool validates = facts_.has_validation && run_.config.validation.every.unit != config::Cadence::Unit::kNever;
  if ((!validates && !state_.validation_pending) || (state_.step > 0 && !state_.validation_pending) ||
      state_.finished) {
    return;
  }
  if (state_.step > 0) {  // what the life before had no time for
    measure_pending();
    return;
  }
  if (options_.bare) {
    return;
  }
  const std::optional<ValidationLoss> loss = validate();
  if (!loss) {
    stopped_ = true;  // there is nothing to save
    return;
  }
  state_.first_validation_loss = loss->mean;
  state_.step_metrics.clear();
  note(*loss);
  write_metrics();
}

void Loop::measure_pending() {
  NextActions actions;
  actions.finished = state_.step >= state_.total_steps;
  measure(actions);
  if (actions.stop) {
    stopped_ = true;  // the checkpoint says already that it is pending
    return;
  }
  state_.validation_pending = false;
  state_.finished = actions.finished;
  write_metrics();
  if (actions.checkpoint) {
    checkpoint(actions);
  }
}

void Loop::note(const ValidationLoss& loss) {
  state_.step_metrics.push_back({"validation_loss", loss.mean});
  for (const auto& [name, mean] : loss.groups) {
    state_.step_metrics.push_back({"validation_loss." + name, mean});
  }
}

std::optional<ValidationLoss> Loop::validate() {
  run_.enter(Heartbeat::Phase::kStep, "validation");
  const EvaluationPoint evaluation(*run_.trial);
  const auto goes_on = [this] {
    run_.progress();
    run_.faults.reach("validation", state_.step);
    return !stop_requested();
  };
  std::optional<ValidationLoss> loss = validation_loss(run_.communicator, {.task = *run_.task,
                                                                           .adapters = &run_.trial->adapters(),
                                                                           .samples = run_.config.validation.samples,
                                                                           .micro = run_.config.batch.micro,
                                                                           .goes_on = goes_on});
  if (!loss) {
    log::info("step {}: asked to stop during the validation; the next start measures", state_.step);
    return std::nullopt;
  }
  state_.last_validation_loss = loss->mean;
  log::info("step {}: validation loss {:.6f}", state_.step, loss->mean);
  for (const auto& [name, mean] : loss->groups) {
    log::info("step {}: validation loss of {} {:.6f}", state_.step, name, mean);
  }
  return loss;
}

PackMember Loop::begin_update() {
  settle_earlier_save(/*wait=*/false);
  run_.enter(Heartbeat::Phase::kStep, "update");
  update_began_ = elapsed();
  trace_.reset();
  if (options_.traced.contains(state_.step + 1)) {
    trace_.emplace();
  }
  return {.trial = *run_.trial,
          .inputs = {.task = *run_.task,
                     .step = state_.step,
                     .position = state_.position,
                     .seconds = update_began_,
                     .skipped = state_.skipped,
                     .may_skip = state_.skipped < run_.config.optimizer.max_skipped,
                     .faults = run_.faults},
          .trace = trace_ ? &*trace_ : nullptr};
}

void Loop::end_update(const UpdateReport& report) {
  if (trace_) {
    const UpdateInputs inputs{.task = *run_.task, .step = state_.step, .position = state_.position};
    write_trace(run_.communicator, run_.paths.trace(static_cast<long>(state_.step + 1)),
                {*trace_, inputs, report, *run_.trial});
  }
  ++state_.step;
  state_.position += run_.config.batch.global;
  run_.enter(Heartbeat::Phase::kStep, "between updates");
  run_.faults.reach("updated", state_.step);
  take_in(report, elapsed() - update_began_);
  NextActions actions = decide_next(report);
  if (actions.validate) {
    measure(actions);
  }
  state_.finished = actions.finished;
  state_.validation_pending = actions.validation_pending;
  if (actions.sample || (actions.finished && !actions.stop)) {
    make_pictures();
  }
  write_metrics();
  if (actions.checkpoint) {
    checkpoint(actions);
  }
  if (!actions.finished && !actions.pause) {
    export_now(actions.exports);
  }
  tell(report);
  stopped_ = actions.stop;
  paused_ = actions.pause;
}

void Loop::take_in(const UpdateReport& report, double seconds) {
  samples_per_second_ = static_cast<double>(run_.config.batch.global) / std::max(seconds, 1e-9);
  state_.step_validation_loss.reset();
  if (!report.skipped.empty()) {
    ++state_.skipped;
    log::warn_together("update {} was skipped ({} of at most {}): {}", state_.step, state_.skipped,
                       run_.config.optimizer.max_skipped, report.skipped);
  } else {
    last_loss_ = report.loss;
  }
  state_.step_metrics = {{"loss", report.loss},  // null in the file where the update was skipped
                         {"learning_rate", report.learning_rate},
                         {"gradient_norm", report.gradient_norm}};
  const auto tokens = static_cast<double>(run_.task->tokens_per_sample());
  if (tokens > 0.0) {
    state_.step_metrics.push_back({"tokens_per_second", samples_per_second_ * tokens});
  } else {
    state_.step_metrics.push_back({"samples_per_second", samples_per_second_});
  }
  if (state_.skipped > 0) {
    state_.step_metrics.push_back({"skipped", state_.skipped});
  }
  const auto own = static_cast<double>(run_.config.batch.global / run_.config.batch.micro) / run_.communicator.size();
  if (const std::optional<Straggler> slow = find_straggler(report.paces, std::max(own, 1.0))) {
    state_.step_metrics.push_back({"straggler", std::int64_t{slow->rank}});
    state_.step_metrics.push_back({"straggler_ratio", slow->ratio});
    if (slow->rank != told_straggler_) {
      log::warn_together("update {}: rank {} takes {:.1f} times as long for a micro-batch as the others", state_.step,
                         slow->rank, slow->ratio);
      told_straggler_ = slow->rank;
    }
  }
}

NextActions Loop::decide_next(const UpdateReport& report) {
  facts_.now = {.step = state_.step, .position = state_.position, .seconds = report.seconds};
  facts_.stop_requested = report.stop;
  facts_.dropped = options_.goes_on && on_any_rank(run_.communicator, !options_.goes_on(lane_));
  facts_.seconds_per_update = std::max(facts_.seconds_per_update, report.seconds - previous_seconds_);
  previous_seconds_ = report.seconds;
  return decide(run_.config, facts_);
}

// A better loss is saved where the best is kept; too many worse ones end the run.
void Loop::measure(NextActions& actions) {
  const std::optional<ValidationLoss> loss = validate();
  if (!loss) {
    actions = {};
    actions.validation_pending = actions.checkpoint = actions.stop = true;
    return;
  }
  facts_.last_validation = facts_.now;
  state_.step_validation_loss = loss->mean;
  note(*loss);
  const bool improved = record_validation(state_.best, loss->mean, state_.step);
  const std::optional<std::int64_t>& patience = run_.config.validation.patience;
  if (patience && state_.best.without_improvement >= *patience && !actions.finished) {
    log::info("no better validation loss for {} measurements: the run ends here", state_.best.without_improvement);
    actions.finished = true;
  }
  actions.checkpoint = actions.checkpoint || actions.finished ||
                       (improved && run_.config.validation.keep_best && run_.config.checkpoint.keep.best > 0);
}

void Loop::write_metrics() {
  agree(run_.communicator, [&] {
    if (run_.metrics) {
      run_.metrics->write(state_.step, state_.step_metrics);
    }
    if (run_.events) {
      run_.events->write(state_.step, state_.step_metrics);
    }
  });
  run_.faults.reach("metrics", state_.step);
}

void Loop::checkpoint(const NextActions& actions) {
  run_.enter(Heartbeat::Phase::kIo, "saving");
  agree(run_.communicator, [&] {
    if (run_.metrics) {
      run_.metrics->sync();
    }
  });
  settle_earlier_save(/*wait=*/true);
  saving_step_ = state_.step;
  facts_.last_checkpoint = facts_.now;
  std::string problem;  // equal on all ranks
  try {
    std::optional<storage::CheckpointImage> image = image_of(run_.communicator, state_, *run_.trial);
    run_.faults.reach("gathered", state_.step);
    if (image) {
      writer_.begin(*std::move(image));
    }
  } catch (const AgreedError& error) {
    if (error.fault() != Fault::kIo) {
      throw;
    }
    problem = error.what();
  }
  const bool last = actions.stop || actions.finished || actions.pause;
  if (last || !run_.config.checkpoint.background) {
    problem = agree_on_text(run_.communicator, [&] {
      const std::string written = settle_save(/*wait=*/true);
      return problem.empty() ? written : problem;
    });
  }
  if (problem.empty()) {
    return;
  }
  if (last) {
    fail_together(Fault::kIo, "the run could not be saved at step {}: {}", state_.step, problem);
  }
  warn_not_saved(state_.step, problem);
}

std::string Loop::settle_save(bool wait) {
  const std::optional<CheckpointWriter::Outcome> outcome = writer_.settle(wait);
  if (outcome && outcome->failure) {
    return outcome->failure->message;
  }
  if (outcome) {
    log::info("step {}: saved", outcome->step);
    run_.faults.reach("saved", outcome->step);
  }
  return {};
}

void Loop::settle_earlier_save(bool wait) {
  const std::string problem = settle_save(wait);
  if (!problem.empty()) {
    warn_not_saved(saving_step_, problem);
  }
}

void Loop::tell(const UpdateReport& report) const {
  if (!options_.on_progress || run_.communicator.rank() != 0) {
    return;
  }
  const double per_update = elapsed() / static_cast<double>(state_.step - first_step_);
  options_.on_progress({.step = state_.step,
                        .total = state_.total_steps,
                        .loss = report.loss,
                        .learning_rate = report.learning_rate,
                        .gradient_norm = report.gradient_norm,
                        .tokens_per_second = samples_per_second_ * static_cast<double>(run_.task->tokens_per_sample()),
                        .samples_per_second = run_.task->tokens_per_sample() > 0 ? 0.0 : samples_per_second_,
                        .validation_loss = state_.step_validation_loss,
                        .seconds_left = per_update * static_cast<double>(state_.total_steps - state_.step),
                        .lane = lane_});
}

TrainResult Loop::result() const {
  const Outcome outcome = stopped_ ? Outcome::kSavedForRequeue : paused_ ? Outcome::kPaused : Outcome::kFinished;
  return {.outcome = outcome,
          .step = state_.step,
          .first_step = first_step_,
          .loss = last_loss_,
          .first_validation_loss = state_.first_validation_loss,
          .last_validation_loss = state_.last_validation_loss,
          .best_validation_loss = state_.best.loss,
          .exports = outcome == Outcome::kFinished ? export_folders(run_.config, run_.paths)
                                                   : std::vector<std::filesystem::path>{},
          .trainable_parameters = state_.trainable_parameters,
          .state_bytes = run_.trial->optimizer().state_bytes()};
}

}  // namespace dormer::train
