#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/report/metrics_reader.hpp"
#include "dormer/sweep/worker.hpp"
#include "dormer/train/shared_bases.hpp"
#include "sweep/evaluation.hpp"

namespace dormer::sweep {
namespace {

constexpr double kLook = 5.0;  // seconds between two looks whether somebody stopped a trial

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Lines of runs are for who watches one; of hundreds only what goes wrong is told.
class QuietRuns {
 public:
  QuietRuns() { log::set_level(log::Level::kWarning); }
  ~QuietRuns() { log::set_level(log::Level::kInfo); }
  QuietRuns(const QuietRuns&) = delete;
  QuietRuns& operator=(const QuietRuns&) = delete;
};

/// The values of `metric` after `first` updates, up to `last`.
std::vector<Measurement> measurements_of(const std::filesystem::path& folder, const std::string& metric,
                                         std::int64_t first, std::int64_t last) {
  std::vector<Measurement> measurements;
  for (const report::StepMetrics& line : report::read_metrics(folder / "metrics.jsonl")) {
    if (line.step <= first || line.step > last) {
      continue;
    }
    const auto found = std::ranges::find(line.metrics, metric, &report::Metric::name);
    // Every update has a training loss: the last one is the trial's.
    if (found != line.metrics.end() && (metric != "loss" || line.step == last)) {
      const double value = std::visit([](auto number) { return static_cast<double>(number); }, found->value);
      measurements.push_back({.step = line.step, .value = value});
    }
  }
  return measurements;
}

Event failure_of(const Assignment& assignment, Fault fault, const std::string& message) {
  return {.kind = EventKind::kFailed,
          .trial = assignment.trial,
          .attempt = assignment.attempt,
          .fault = fault,
          .text = message};
}

}  // namespace

train::RunConfig run_of_trial(const SweepConfig& config, const SweepPaths& paths, const Point& settings,
                              std::int64_t number, std::int64_t replica) {
  train::RunConfig run = trial_config(config, settings, replica);
  run.run.directory = paths.trial(number);
  run.run.name = fmt::format("{}-{}", config.run.name(), number);
  run.exports.clear();
  run.checkpoint.keep = {.last = 1, .best = 0};
  run.validation.keep_best = false;
  if (config.sweep.metric == "validation_loss" && run.validation.every.unit == config::Cadence::Unit::kNever) {
    run.validation.every = config::Cadence::steps(run.run.steps.value_or(1));
  }
  if (config.sweep.stopping.kind == "patience") {
    run.validation.patience = config.sweep.stopping.patience;
  }
  return run;
}

TrialRunner::TrialRunner(Store& store, comm::Communicator& communicator, Heartbeat* heartbeat)
    : store_(store),
      communicator_(communicator),
      heartbeat_(heartbeat),
      bases_(std::make_unique<train::SharedBases>()) {}

TrialRunner::~TrialRunner() = default;

bool TrialRunner::asked_to_stop(std::int64_t trial) {
  const double now = steady_seconds();
  if (now - looked_ > kLook) {
    looked_ = now;
    store_.look();
  }
  return store_.scheduler().asked_to_stop(trial);
}

std::vector<train::LaneOutcome> TrialRunner::train(std::span<const Assignment> assignments,
                                                   std::span<const train::RunConfig> configs) {
  const QuietRuns quiet;
  return train::train_pack(configs, communicator_,
                           {.heartbeat = heartbeat_,
                            .until = assignments.front().until,
                            .bare = true,
                            .bases = bases_.get(),
                            .goes_on = [&](std::size_t lane) { return !asked_to_stop(assignments[lane].trial); }});
}

std::vector<Event> TrialRunner::run(std::span<const Assignment> assignments) {
  std::vector<Event> events(assignments.size());
  std::vector<Assignment> trained;
  std::vector<train::RunConfig> configs;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < assignments.size(); ++i) {
    const Assignment& one = assignments[i];
    try {
      configs.push_back(run_of_trial(store_.config(), store_.paths(), one.settings, one.trial, one.replica));
      trained.push_back(one);
      places.push_back(i);
    } catch (const Error& error) {
      events[i] = failure_of(one, error.fault(), error.what());
    }
  }
  if (trained.empty()) {
    return events;
  }
  const double begin = steady_seconds();
  std::vector<train::LaneOutcome> outcomes = train(trained, configs);
  const double seconds = (steady_seconds() - begin) / static_cast<double>(trained.size());
  for (std::size_t i = 0; i < trained.size(); ++i) {
    // What one of a pack asks too much of takes the others with it; alone they show which it was.
    if (trained.size() > 1 && !outcomes[i].result && outcomes[i].fault == Fault::kBug) {
      log::warn("trial {} failed in a pack of {} ({}); once more alone", trained[i].trial, trained.size(),
                outcomes[i].message);
      outcomes[i] = train(std::span(trained).subspan(i, 1), std::span(configs).subspan(i, 1)).front();
    }
    Event& event = events[places[i]];
    event = outcome_of(trained[i], outcomes[i], seconds);
    if (event.kind == EventKind::kMeasured && store_.config().sweep.evaluate) {
      try {
        event.measurements = {
            {.step = event.step, .value = evaluated(configs[i]), .seconds = event.measurements.back().seconds}};
      } catch (const Error& error) {
        event = failure_of(trained[i], error.fault(), error.what());
      }
    }
  }
  return events;
}

// Also of a trial that waits at a rung: what is compared there is what is compared at the end.
double TrialRunner::evaluated(const train::RunConfig& config) {
  if (heartbeat_ != nullptr) {
    heartbeat_->enter(Heartbeat::Phase::kIo, "evaluating");
  }
  train::RunConfig exported = config;
  exported.exports = store_.config().run.exports;
  if (exported.exports.empty()) {
    exported.exports.emplace_back().consumer = "peft";
  }
  exported.exports.resize(1);
  const QuietRuns quiet;
  const std::vector<std::filesystem::path> paths =
      train::export_run(exported, communicator_, {.bare = true, .bases = bases_.get()});
  const double value = evaluate(*store_.config().sweep.evaluate, paths.front());
  std::filesystem::remove_all(config.run.directory / "export");
  return value;
}

Event TrialRunner::outcome_of(const Assignment& assignment, const train::LaneOutcome& lane, double seconds) const {
  if (!lane.result) {
    Event event = failure_of(assignment, lane.fault, lane.message);
    // Another worker still writes there, one that was taken for lost: somebody comes again later.
    if (lane.fault == Fault::kInUse || lane.fault == Fault::kRequeue) {
      event.kind = EventKind::kReleased;
      event.text.clear();
    }
    return event;
  }
  const train::TrainResult& result = *lane.result;
  const TrialRecord* record = store_.scheduler().find(assignment.trial);
  const std::int64_t before = record == nullptr ? 0 : record->steps();
  const double seconds_before = record == nullptr ? 0.0 : record->seconds();
  const std::string& metric = store_.config().sweep.metric;
  Event event{.kind = EventKind::kMeasured,
              .trial = assignment.trial,
              .attempt = assignment.attempt,
              .step = result.step,
              .finished = result.outcome == train::Outcome::kFinished};
  event.measurements = measurements_of(store_.paths().trial(assignment.trial), metric, before, result.step);
  for (Measurement& measurement : event.measurements) {
    measurement.seconds = seconds_before + seconds * static_cast<double>(measurement.step - before) /
                                               static_cast<double>(std::max<std::int64_t>(result.step - before, 1));
  }
  const bool came = event.finished || (result.outcome == train::Outcome::kPaused && result.step >= assignment.until);
  if (!came) {
    event.kind = EventKind::kReleased;
    return event;
  }
  if (event.measurements.empty() || event.measurements.back().step != result.step) {
    return failure_of(assignment, Fault::kUsage,
                      fmt::format("there is no {} after {} updates: {}", metric, result.step,
                                  metric == "validation_loss" ? "write data.validation" : "look at its metrics"));
  }
  return event;
}

}  // namespace dormer::sweep
