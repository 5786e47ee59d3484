#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dormer/sweep/goal.hpp"
#include "dormer/sweep/trial_record.hpp"

namespace dormer::sweep {

/// A worker as the status shows it.
struct WorkerStatus {
  std::string name;
  std::optional<std::int64_t> trial;  ///< that it has now
  double silent_seconds = 0.0;        ///< since it was last heard
  bool lost = false;                  ///< nobody counts on it any more
};

/// What the status of a sweep says besides its trials.
struct StatusFacts {
  std::string name;
  std::string metric;
  Goal goal = Goal::kMinimize;
  std::int64_t planned = 0;         ///< trials in all; 0: it is not known
  std::vector<std::int64_t> rungs;  ///< steps, ascending
  std::vector<WorkerStatus> workers;
  double elapsed_seconds = 0.0;  ///< since the sweep began
  std::size_t best = 10;         ///< points to show
};

/// The status for a terminal: trials by state, the best points, the rungs, workers, failures with their reasons. No
/// line is longer than 100 columns. Pure.
[[nodiscard]] std::string status_text(std::span<const TrialRecord> trials, const StatusFacts& facts);

}  // namespace dormer::sweep
