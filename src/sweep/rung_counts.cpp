#include "dormer/sweep/rung_counts.hpp"

namespace dormer::sweep {
namespace {

bool begun(const TrialRecord& trial) {
  return trial.state != TrialState::kWaiting || !trial.measurements.empty();
}

}  // namespace

std::vector<RungCount> rung_counts(std::span<const TrialRecord> trials, std::span<const std::int64_t> rungs) {
  std::vector<RungCount> counts(rungs.size() + 1);
  for (std::size_t i = 0; i < rungs.size(); ++i) {
    counts[i + 1].step = rungs[i];
  }
  for (const TrialRecord& trial : trials) {
    for (std::size_t i = 0; i < counts.size(); ++i) {
      const bool reached = begun(trial) && (i == 0 || trial.steps() >= counts[i].step);
      if (!reached) {
        break;
      }
      ++counts[i].reached;
      const bool passed = i + 1 < counts.size() && trial.steps() >= counts[i + 1].step;
      if (passed || trial.state == TrialState::kComplete) {
        ++counts[i].passed;
      } else if (trial.state == TrialState::kStopped) {
        ++counts[i].stopped;
      } else if (trial.state == TrialState::kFailed) {
        ++counts[i].failed;
      } else {
        ++counts[i].going_on;
      }
    }
  }
  return counts;
}

}  // namespace dormer::sweep
