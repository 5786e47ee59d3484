#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <stdlib.h>

#include "cli/byte_size.hpp"
#include "cli/sweep_actions.hpp"
#include "cli/sweep_view.hpp"
#include "dormer/comm/single.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/sweep/worker.hpp"
#include "dormer/tensor/process.hpp"
#include "dormer/train/run.hpp"
#include "dormer/train/run_plan.hpp"

namespace dormer::cli {
namespace {

/// How many points come to each rung at most, and what all of their trials do together.
struct RungPlan {
  std::vector<std::pair<std::int64_t, std::int64_t>> reaching;  ///< updates, points
  std::int64_t updates = 0;
  std::int64_t measurements = 0;
};

/// Held-out losses between two rungs, the second one's among them.
std::int64_t measurements_between(const config::Cadence& every, std::int64_t before, std::int64_t step) {
  if (every.unit != config::Cadence::Unit::kSteps) {
    return 1;
  }
  const auto steps = static_cast<std::int64_t>(every.amount);
  return step / steps - before / steps + (step % steps == 0 ? 0 : 1);
}

RungPlan plan_rungs(const sweep::SweepConfig& config, const sweep::SweepState& state, std::int64_t points) {
  RungPlan plan;
  std::int64_t before = 0;
  std::vector<std::int64_t> steps = state.scheduler().rungs();
  steps.push_back(state.scheduler().plan().total_steps);
  for (const std::int64_t step : steps) {
    const std::int64_t trials = points * config.sweep.seeds;
    plan.reaching.emplace_back(step, points);
    plan.updates += trials * (step - before);
    plan.measurements += trials * measurements_between(config.run.validation.every, before, step);
    before = step;
    points = state.rule().most_going_on(points);
  }
  return plan;
}

/// A folder that goes when its owner does.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::error_code code;
    const std::filesystem::path place = std::filesystem::temp_directory_path(code);
    std::string name = (place / "dormer-plan-XXXXXX").string();
    require(!code && mkdtemp(name.data()) != nullptr, Fault::kIo,
            "no temporary folder can be made for the updates that are timed; let TMPDIR name a folder that can be "
            "written to");
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Seconds of one device.
struct TrialTimes {
  double update = 0.0;
  double measurement = 0.0;
};

/// Of a run's first updates here, on one rank; the run itself is not begun. The first of them allocates what the
/// others use again, and does not count.
TrialTimes time_updates(train::RunConfig run) {
  using Clock = std::chrono::steady_clock;
  constexpr std::int64_t kUpdates = 4;
  log::set_level(log::Level::kWarning);
  const TemporaryFolder folder;
  run.run.directory = folder.path() / "run";
  std::vector<Clock::time_point> done;
  const std::unique_ptr<comm::Communicator> alone = comm::single();
  static_cast<void>(train::train(run, *alone,
                                 {.on_progress = [&](const train::Progress&) { done.push_back(Clock::now()); },
                                  .until = kUpdates,
                                  .bare = true,
                                  .pictures = false}));
  const auto between = [&](std::size_t first, std::size_t last) {
    return std::chrono::duration<double>(done.at(last) - done.at(first)).count();
  };
  require(done.size() == kUpdates, Fault::kUsage, "--measure: a run of {} updates is too short to be timed",
          done.size());
  const double update = std::min(between(0, 1), between(1, 2));
  return {update, std::max(0.0, between(2, 3) - update)};  // the last one is measured
}

std::string hours_text(double seconds) {
  return seconds < 3600.0 ? fmt::format("{:.0f} device-minutes", std::max(1.0, seconds / 60.0))
                          : fmt::format("{:.1f} device-hours", seconds / 3600.0);
}

/// What the updates of a sweep that has begun took, measurements among them; nothing before the first is known.
std::optional<double> seconds_of_update(const std::vector<sweep::TrialRecord>& trials, std::int64_t ranks) {
  double seconds = 0.0;
  std::int64_t updates = 0;
  for (const sweep::TrialRecord& trial : trials) {
    seconds += trial.seconds() * static_cast<double>(ranks);
    updates += trial.steps();
  }
  return updates > 0 && seconds > 0.0 ? std::optional(seconds / static_cast<double>(updates)) : std::nullopt;
}

/// What the sweep will take of devices, as far as anything is known about it.
std::string device_time(const sweep::SweepConfig& config, const RungPlan& rungs,
                        const std::optional<sweep::Assignment>& first, bool measure) {
  if (measure && first) {
    const TrialTimes times = time_updates(
        sweep::run_of_trial(config, {config.run.run.directory}, first->settings, first->trial, first->replica));
    const double all =
        times.update * static_cast<double>(rungs.updates) + times.measurement * static_cast<double>(rungs.measurements);
    return fmt::format("{} at most: {:.3g} s an update and {:.3g} s a measurement of trial {}, timed here on one rank",
                       hours_text(all), times.update, times.measurement, first->trial);
  }
  if (std::filesystem::exists(sweep::SweepPaths{config.run.run.directory}.journal())) {
    const SweepView view(config);
    if (const auto seconds = seconds_of_update(view.scheduler().trials(), config.sweep.ranks_per_trial)) {
      return fmt::format("{} at most, by the {:.3g} s an update of the trials that stand",
                         hours_text(*seconds * static_cast<double>(rungs.updates)), *seconds);
    }
  }
  return "device-hours: nothing has run yet; --measure times some updates of the first trial";
}

}  // namespace

int sweep_plan(const ConfigOptions& options, std::size_t shown, bool measure) {
  const sweep::SweepConfig config = options.load_sweep();
  sweep::SweepState state(config);
  const std::int64_t points = sweep::point_count(config);
  fmt::print("{} points x {} seeds = {} trials ({}), in {}\n", points, config.sweep.seeds, points * config.sweep.seeds,
             config.sweep.method, config.run.run.directory.string());
  for (const std::string& line : config.space.description()) {
    fmt::print("  {}\n", line);
  }
  state.scheduler().apply({.kind = sweep::EventKind::kBegun, .step = points});
  fmt::print("{}\n", points == 0 ? "points come by dormer sweep add alone" : "the first points:");
  std::int64_t last = -1;
  for (const sweep::Assignment& one : state.scheduler().next(shown * static_cast<std::size_t>(config.sweep.seeds))) {
    if (one.point != last) {
      last = one.point;
      fmt::print("  {:>4}  {}\n", one.point, sweep::text_of(one.settings));
    }
  }
  tensor::configure_process(config.run.run.threads);
  if (config.run.run.steps && points > 0) {
    const RungPlan rungs = plan_rungs(config, state, points);
    for (const auto& [step, reaching] : rungs.reaching) {
      fmt::print("  {} points are trained up to update {}\n", reaching, step);
    }
    fmt::print("updates at most: {} ({:.1f}% of {} without stopping)\n", rungs.updates,
               100.0 * static_cast<double>(rungs.updates) /
                   static_cast<double>(points * config.sweep.seeds * *config.run.run.steps),
               points * config.sweep.seeds * *config.run.run.steps);
    const std::vector<sweep::Assignment> first = state.scheduler().next(1);
    fmt::print("{}\n", device_time(config, rungs, first.empty() ? std::nullopt : std::optional(first[0]), measure));
  }
  const auto pack = static_cast<std::size_t>(config.sweep.pack_limit().value_or(1));
  std::vector<train::RankMemory> memories;
  for (const sweep::Assignment& one : state.scheduler().next(pack)) {
    const train::RunPlan plan =
        train::plan_run(sweep::run_of_trial(config, {config.run.run.directory}, one.settings, one.trial, one.replica),
                        {.ranks = static_cast<int>(config.sweep.ranks_per_trial)});
    memories.push_back(
        std::ranges::max(plan.ranks, {}, [](const train::RankPlan& rank) { return rank.memory.peak; }).memory);
    if (memories.size() == 1) {
      fmt::print("trial 0: {} parameters, {} mapped for all ranks of a machine, {} for each rank, {} on disk\n",
                 plan.parameters, byte_text(memories[0].mapped), byte_text(memories[0].peak),
                 byte_text(plan.disk_bytes()));
    }
  }
  if (memories.size() > 1) {
    fmt::print("a pack of the first {}: {} for each rank beside what is mapped\n", memories.size(),
               byte_text(train::pack_memory(memories).peak));
  }
  return 0;
}

}  // namespace dormer::cli
