#pragma once

#include <cstdint>
#include <functional>

#include "dormer/comm/communicator.hpp"
#include "dormer/core/heartbeat.hpp"
#include "dormer/sweep/store.hpp"
#include "dormer/train/run_config.hpp"

namespace dormer::sweep {

/// The run of a trial in its folder: the file with the point's settings, without exports, keeping its last checkpoint.
[[nodiscard]] train::RunConfig run_of_trial(const SweepConfig& config, const SweepPaths& paths, const Point& settings,
                                            std::int64_t number, std::int64_t replica);

enum class WorkEnd : std::uint8_t {
  kFinished,  ///< the sweep is done, or has ended (Scheduler::ending)
  kAsked      ///< this worker was asked to stop: what it had is saved
};

struct WorkOptions {
  std::function<void()> on_change{};  ///< after each event that this worker appended; may be empty
  Heartbeat* heartbeat = nullptr;     ///< is told what this process does
};

/// One worker of a sweep, whose trials are trained by all of `ranks`: claims trials and runs them, side by side where
/// packs pay (`sweep.pack`), until the sweep is finished or somebody asks one of the ranks to stop (`stop_requested`).
/// All ranks call; `store` is rank 0's, and null elsewhere. Throws what `train` does for errors that are not a trial's,
/// and on all ranks a usage error for model or data that are no longer what the sweep began with.
[[nodiscard]] WorkEnd work(const SweepConfig& config, Store* store, comm::Communicator& ranks,
                           const WorkOptions& options);

}  // namespace dormer::sweep
