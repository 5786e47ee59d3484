#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dormer/sweep/trial_record.hpp"

namespace dormer::sweep {

/// What became of the trials that reached a rung: `reached` is the sum of the others.
struct RungCount {
  std::int64_t step = 0;     ///< of the rung; 0: the start, which every trial reached that was begun
  std::int64_t reached = 0;  ///< have a measurement at or after `step`
  std::int64_t passed = 0;   ///< reached the next rung as well, or are complete
  std::int64_t stopped = 0;
  std::int64_t failed = 0;
  std::int64_t going_on = 0;  ///< are running, or wait to hear whether they go on
};

/// The start and each of `rungs` (steps, ascending). Pure.
[[nodiscard]] std::vector<RungCount> rung_counts(std::span<const TrialRecord> trials,
                                                 std::span<const std::int64_t> rungs);

}  // namespace dormer::sweep
