#pragma once

#include <string>
#include <utility>
#include <vector>

#include "dormer/sweep/trial_record.hpp"

namespace dormer::sweep {

/// A trial of a point with these measurements, ten seconds an update.
inline TrialRecord made_trial(std::int64_t number, std::int64_t point, TrialState state,
                              const std::vector<std::pair<std::int64_t, double>>& values, Point settings = {}) {
  TrialRecord trial;
  trial.number = number;
  trial.point = point;
  trial.settings = std::move(settings);
  trial.state = state;
  for (const auto& [step, value] : values) {
    trial.measurements.push_back({.step = step, .value = value, .seconds = 10.0 * static_cast<double>(step)});
  }
  return trial;
}

}  // namespace dormer::sweep
