#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dormer/comm/communicator.hpp"
#include "dormer/core/heartbeat.hpp"
#include "dormer/sweep/store.hpp"
#include "dormer/train/run.hpp"

namespace dormer::train {
class SharedBases;
}

namespace dormer::sweep {

/// Trains what it is assigned and says what became of each, in order.
using RunTrials = std::function<std::vector<Event>(std::span<const Assignment> assignments)>;

/// Trains trials of a sweep in this process: those of one assignment as a pack over one frozen model, which stays
/// loaded from one to the next. Its files are the trials' folders.
class TrialRunner {
 public:
  /// All must outlive it. `heartbeat` may be null.
  TrialRunner(Store& store, comm::Communicator& communicator, Heartbeat* heartbeat);
  ~TrialRunner();
  /// The events `kMeasured`, `kReleased` or `kFailed` of each.
  [[nodiscard]] std::vector<Event> run(std::span<const Assignment> assignments);

 private:
  [[nodiscard]] Event outcome_of(const Assignment& assignment, const train::LaneOutcome& lane, double seconds) const;
  [[nodiscard]] std::vector<train::LaneOutcome> train(std::span<const Assignment> assignments,
                                                      std::span<const train::RunConfig> configs);
  [[nodiscard]] bool asked_to_stop(std::int64_t trial);
  /// What `sweep.evaluate` says of the newest checkpoint, exported for the file's first consumer, or for PEFT.
  [[nodiscard]] double evaluated(const train::RunConfig& config);

  Store& store_;
  comm::Communicator& communicator_;
  Heartbeat* heartbeat_;
  std::unique_ptr<train::SharedBases> bases_;
  double looked_ = -1e9;
};

/// The run of a trial in its folder: the file with the point's settings, without exports, keeping its last checkpoint.
[[nodiscard]] train::RunConfig run_of_trial(const SweepConfig& config, const SweepPaths& paths, const Point& settings,
                                            std::int64_t number, std::int64_t replica);

enum class WorkEnd : std::uint8_t {
  kFinished,  ///< the sweep is done, or has ended (Scheduler::ending)
  kAsked      ///< this process was asked to stop: what it had is saved
};

struct WorkOptions {
  std::size_t pack = 1;             ///< trials at once, at most
  std::function<void()> on_change;  ///< after each event that this worker appended; may be empty
  Heartbeat* heartbeat = nullptr;   ///< is told that it waits for others
};

/// Claims trials and runs them until the sweep is finished or somebody asks this process to stop (`stop_requested`).
/// A journal that takes nothing for the moment (a full disk) is waited for, up to ten minutes.
[[nodiscard]] WorkEnd work(Store& store, const RunTrials& run, const WorkOptions& options);

}  // namespace dormer::sweep
