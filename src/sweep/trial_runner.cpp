#include "sweep/trial_runner.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "dormer/config/write.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/core/sha256.hpp"
#include "dormer/report/metrics_reader.hpp"
#include "dormer/train/run_plan.hpp"
#include "sweep/evaluation.hpp"

namespace dormer::sweep {
namespace {

// Of the memory that was free when the worker began: its estimate may be a tenth off (PackTest).
constexpr double kMemoryShare = 0.85;

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

/// Moves a trial's pictures to where they stay when its other files go. They are for people: a failure is a warning.
void keep_pictures(const SweepPaths& paths, std::int64_t trial) {
  std::error_code code;
  const std::filesystem::path made = paths.trial(trial) / "samples";
  if (!std::filesystem::exists(made, code)) {
    return;
  }
  std::filesystem::create_directories(paths.samples(), code);
  for (const auto& folder : std::filesystem::directory_iterator(made, code)) {
    for (const auto& file : std::filesystem::directory_iterator(folder, code)) {
      std::filesystem::rename(file, paths.sample(trial, file.path().stem().string()), code);
      if (code) {
        log::warn("{} cannot be moved to {}: {}", file.path().string(), paths.samples().string(), code.message());
      }
    }
  }
  std::filesystem::remove_all(made, code);
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

TrialRunner::TrialRunner(TrialFeed& feed, const SweepConfig& config, comm::Communicator& ranks, Heartbeat* heartbeat,
                         std::int64_t memory)
    : feed_(feed),
      config_(config),
      paths_{config.run.run.directory},
      ranks_(ranks),
      heartbeat_(heartbeat),
      memory_(memory),
      width_(config.sweep.pack_limit(), [this](std::size_t width) { return fits(width); }) {}

std::optional<WorkEnd> TrialRunner::run() {
  Claim claim = feed_.claim(0, width_.width());
  if (claim.assignments.empty()) {
    return claim.end;
  }
  train(std::move(claim.assignments));
  while (!suspects_.empty()) {
    alone_ = true;
    train({suspects_.front()});
    suspects_.pop_front();
    alone_ = false;
  }
  return std::nullopt;
}

void TrialRunner::train(std::vector<Assignment> assignments) {
  const QuietRuns quiet;
  begin_ = std::move(assignments);
  lanes_.clear();
  next_lane_ = 0;
  train::train_pack(*this, ranks_, {.heartbeat = heartbeat_, .bare = true, .bases = &bases_});
}

std::vector<train::PackedRun> TrialRunner::join(const train::PackTurn& turn) {
  width_.note(turn);
  std::vector<Assignment> joining = std::exchange(begin_, {});
  if (joining.empty() && !alone_ && suspects_.empty()) {
    joining = feed_.claim(turn.active, width_.width()).assignments;
  }
  std::vector<train::PackedRun> runs;
  for (Assignment& one : joining) {
    try {
      train::RunConfig run = run_of_trial(config_, paths_, one.settings, one.trial, one.replica);
      runs.push_back({run, one.until});
      lanes_.insert({next_lane_++, {std::move(one), std::move(run)}});
    } catch (const Error& error) {
      feed_.append(failure_of(one, error.fault(), error.what()));
    }
  }
  together_ = turn.active + runs.size();
  return runs;
}

bool TrialRunner::goes_on(std::size_t lane) {
  return !feed_.asked_to_stop(lanes_.at(lane).assignment.trial);
}

void TrialRunner::check_inputs(std::size_t lane, const std::map<std::string, std::string>& fingerprint) {
  std::string name;
  for (const auto& [key, value] : config::flatten(lanes_.at(lane).config)) {
    if (key.starts_with("model.") || key.starts_with("data.")) {
      name += fmt::format("{}={}\n", key, value);
    }
  }
  Point inputs;
  for (const char* input : {"model", "data.train", "data.validation"}) {
    inputs.push_back({input, fingerprint.at(input)});
  }
  feed_.check_inputs(sha256_hex(name), inputs);
}

void TrialRunner::ended(std::size_t lane, const train::LaneOutcome& outcome) {
  const auto node = lanes_.extract(lane);
  const Running& one = node.mapped();
  // What one of a pack asks too much of takes the others with it; alone they show which it was.
  if (!outcome.result && outcome.fault == Fault::kBug && together_ > 1) {
    log::warn("trial {} failed in a pack of {} ({}); once more alone", one.assignment.trial, together_,
              outcome.message);
    suspects_.push_back(one.assignment);
    return;
  }
  feed_.append(event_of(one, outcome));
}

bool TrialRunner::fits(std::size_t width) const {
  train::RankMemory largest;
  try {
    for (const auto& [lane, one] : lanes_) {
      const train::RunPlan plan = train::plan_run(one.config, {.ranks = ranks_.size()});
      for (const train::RankPlan& rank : plan.ranks) {
        if (rank.memory.peak > largest.peak) {
          largest = rank.memory;
        }
      }
    }
  } catch (const Error&) {  // what cannot be planned is not widened
    return false;
  }
  const std::vector<train::RankMemory> pack(width, largest);
  return static_cast<double>(train::pack_memory(pack).peak) <= kMemoryShare * static_cast<double>(memory_);
}

// Also of a trial that waits at a rung: what is compared there is what is compared at the end.
double TrialRunner::evaluated(const train::RunConfig& config) {
  if (heartbeat_ != nullptr) {
    heartbeat_->enter(Heartbeat::Phase::kIo, "evaluating");
  }
  train::RunConfig exported = config;
  exported.exports = config_.run.exports;
  if (exported.exports.empty()) {
    exported.exports.emplace_back().consumer = "peft";
  }
  exported.exports.resize(1);
  const std::vector<std::filesystem::path> paths =
      train::export_run(exported, ranks_, {.bare = true, .bases = &bases_});
  if (!feed_.speaks()) {
    return 0.0;
  }
  const double value = evaluate(*config_.sweep.evaluate, paths.front());
  std::filesystem::remove_all(config.run.directory / "export");
  return value;
}

Event TrialRunner::event_of(const Running& one, const train::LaneOutcome& outcome) {
  const Assignment& assignment = one.assignment;
  if (!outcome.result) {
    Event event = failure_of(assignment, outcome.fault, outcome.message);
    // Another worker still writes there, one that was taken for lost, or this one ends: somebody comes again later.
    if (outcome.fault == Fault::kInUse || outcome.fault == Fault::kRequeue || feed_.refuses()) {
      event.kind = EventKind::kReleased;
      event.text.clear();
    }
    return event;
  }
  const train::TrainResult& result = *outcome.result;
  Event event{.kind = EventKind::kMeasured,
              .trial = assignment.trial,
              .attempt = assignment.attempt,
              .step = result.step,
              .finished = result.outcome == train::Outcome::kFinished,
              .parameters = result.trainable_parameters};
  const bool came = event.finished || (result.outcome == train::Outcome::kPaused && result.step >= assignment.until);
  std::optional<double> value;
  if (came && config_.sweep.evaluate) {
    try {
      value = evaluated(one.config);
    } catch (const Error& error) {
      return failure_of(assignment, error.fault(), error.what());
    }
  }
  if (!feed_.speaks()) {
    return event;
  }
  const TrialRecord* record = feed_.find(assignment.trial);
  const std::int64_t before = record == nullptr ? 0 : record->steps();
  const double seconds_before = record == nullptr ? 0.0 : record->seconds();
  if (value) {
    event.measurements = {{.step = result.step, .value = *value}};
  } else {
    event.measurements = measurements_of(paths_.trial(assignment.trial), config_.sweep.metric, before, result.step);
  }
  for (Measurement& measurement : event.measurements) {
    measurement.seconds = seconds_before + outcome.seconds * static_cast<double>(measurement.step - before) /
                                               static_cast<double>(std::max<std::int64_t>(result.step - before, 1));
  }
  if (event.finished) {
    keep_pictures(paths_, assignment.trial);
  }
  if (!came) {
    event.kind = EventKind::kReleased;
    return event;
  }
  if (event.measurements.empty() || event.measurements.back().step != result.step) {
    return failure_of(
        assignment, Fault::kUsage,
        fmt::format("there is no {} after {} updates: {}", config_.sweep.metric, result.step,
                    config_.sweep.metric == "validation_loss" ? "write data.validation" : "look at its metrics"));
  }
  return event;
}

}  // namespace dormer::sweep
