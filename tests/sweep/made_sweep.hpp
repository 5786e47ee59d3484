#pragma once

#include <cstdint>
#include <vector>

#include "dormer/sweep/sweep_report.hpp"

namespace dormer::sweep {

/// A sweep as it could have been: points under two seeds, three rungs, a parameter that hangs on another one, trials
/// that diverged and failed, workers, a sample. The same for the same number of points.
struct MadeSweep {
  std::vector<TrialRecord> trials;
  std::vector<TrialFacts> trial_facts;
  ReportFacts facts;
  [[nodiscard]] report::SweepRecord record() const;
};
[[nodiscard]] MadeSweep made_sweep(std::int64_t points);

}  // namespace dormer::sweep
