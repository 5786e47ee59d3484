#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "dormer/sweep/goal.hpp"
#include "dormer/sweep/trial_record.hpp"

namespace dormer::sweep {

/// How a point of the space stands, over its seeds.
struct Standing {
  std::int64_t place = 0;  ///< from 1
  std::int64_t point = 0;
  Point settings;
  TrialState state = TrialState::kWaiting;  ///< see `state_of_point`
  std::optional<double> mean;               ///< of the metric after `step` updates; nothing: never measured
  std::optional<double> half_width;         ///< of the 95% interval around the mean; nothing with one seed
  std::int64_t measured = 0;                ///< seeds in the mean
  std::int64_t replicas = 0;                ///< seeds that the point has at all
  std::int64_t step = 0;
  std::int64_t rung = 0;  ///< the last rung that all of its trials that have begun reached: its step; 0: none
  double seconds = 0.0;   ///< of training, all of its trials together
  bool by_value = false;  ///< it has a complete trial and none that failed or was stopped: its mean gives its place
};

/// What a point is whose trials are these: running or waiting as long as one is, then failed or stopped if one is,
/// else complete.
[[nodiscard]] TrialState state_of_point(std::span<const TrialRecord* const> trials);

/// The last measurement of `trial` at or before `step`; nothing: there is none, or it is not finite.
[[nodiscard]] std::optional<double> value_at(const TrialRecord& trial, std::int64_t step);

/// All points that have a trial, best first. Points with a complete trial and none that failed or was stopped are
/// ranked by the mean of their complete trials, after as many updates as all of those did. Below them stand the others,
/// by the rung that all their trials reached and then by the mean over their measured trials after as many updates as
/// all of those did. Ties: the smaller number first. `rungs`: steps, ascending; without any the steps themselves are
/// the rungs. Pure.
[[nodiscard]] std::vector<Standing> leaderboard(std::span<const TrialRecord> trials, Goal goal,
                                                std::span<const std::int64_t> rungs);

/// The t for which a variable of Student's distribution with so many degrees of freedom (at least 1) lies within
/// [-t, t] with probability `confidence` (inside of (0, 1)). Found by halving an interval on the closed form for whole
/// degrees (Abramowitz and Stegun, 26.7.3 and 26.7.4).
[[nodiscard]] double student_t(double confidence, std::int64_t degrees);

}  // namespace dormer::sweep
