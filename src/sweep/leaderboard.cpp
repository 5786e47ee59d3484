#include "dormer/sweep/leaderboard.hpp"

#include <algorithm>
#include <cmath>
#include <map>

namespace dormer::sweep {
namespace {

constexpr double kConfidence = 0.95;

using Trials = std::vector<const TrialRecord*>;

bool begun(const TrialRecord& trial) {
  return trial.state != TrialState::kWaiting || !trial.measurements.empty();
}

bool any(std::span<const TrialRecord* const> trials, TrialState state) {
  return std::ranges::any_of(trials, [&](const TrialRecord* trial) { return trial->state == state; });
}

std::int64_t rung_of(std::int64_t step, std::span<const std::int64_t> rungs) {
  if (rungs.empty()) {
    return step;
  }
  const auto above = std::ranges::upper_bound(rungs, step);
  return above == rungs.begin() ? 0 : *std::prev(above);
}

/// Fills the mean, its interval and where it was measured.
void measure(Standing& standing, const Trials& trials) {
  Trials counted;
  std::ranges::copy_if(trials, std::back_inserter(counted), [&](const TrialRecord* trial) {
    return !trial->measurements.empty() && (!standing.by_value || trial->state == TrialState::kComplete);
  });
  if (counted.empty()) {
    return;
  }
  const TrialRecord* shortest = std::ranges::min(counted, {}, [](const TrialRecord* trial) { return trial->steps(); });
  standing.step = shortest->steps();
  std::vector<double> values;
  for (const TrialRecord* trial : counted) {
    if (const std::optional<double> value = value_at(*trial, standing.step)) {
      values.push_back(*value);
    }
  }
  standing.measured = static_cast<std::int64_t>(values.size());
  if (values.empty()) {
    return;
  }
  const auto count = static_cast<double>(values.size());
  double sum = 0.0;
  for (const double value : values) {
    sum += value / count;  // not the sum of values: that of large ones may not be finite
  }
  standing.mean = sum;
  if (values.size() > 1) {
    double squares = 0.0;
    for (const double value : values) {
      squares += (value - sum) * (value - sum);
    }
    const double error = std::sqrt(squares / (count - 1.0) / count);
    standing.half_width = student_t(kConfidence, standing.measured - 1) * error;
  }
}

Standing standing_of(std::int64_t point, const Trials& trials, std::span<const std::int64_t> rungs) {
  Standing standing{.point = point,
                    .settings = trials.front()->settings,
                    .state = state_of_point(trials),
                    .mean = {},
                    .half_width = {},
                    .replicas = static_cast<std::int64_t>(trials.size())};
  standing.by_value =
      any(trials, TrialState::kComplete) && !any(trials, TrialState::kFailed) && !any(trials, TrialState::kStopped);
  std::optional<std::int64_t> least;
  for (const TrialRecord* trial : trials) {
    standing.seconds += trial->seconds();
    if (begun(*trial)) {
      least = std::min(least.value_or(trial->steps()), trial->steps());
    }
  }
  standing.rung = rung_of(least.value_or(0), rungs);
  measure(standing, trials);
  return standing;
}

bool before(const Standing& left, const Standing& right, Goal goal) {
  if (left.by_value != right.by_value) {
    return left.by_value;
  }
  if (!left.by_value && left.rung != right.rung) {
    return left.rung > right.rung;
  }
  if (left.mean.has_value() != right.mean.has_value()) {
    return left.mean.has_value();
  }
  if (left.mean && *left.mean != *right.mean) {
    return better(*left.mean, *right.mean, goal);
  }
  return left.point < right.point;
}

}  // namespace

TrialState state_of_point(std::span<const TrialRecord* const> trials) {
  for (const TrialState state :
       {TrialState::kRunning, TrialState::kWaiting, TrialState::kFailed, TrialState::kStopped}) {
    if (any(trials, state)) {
      return state;
    }
  }
  return TrialState::kComplete;
}

std::optional<double> value_at(const TrialRecord& trial, std::int64_t step) {
  const auto after = std::ranges::upper_bound(trial.measurements, step, {}, &Measurement::step);
  if (after == trial.measurements.begin() || !std::isfinite(std::prev(after)->value)) {
    return std::nullopt;
  }
  return std::prev(after)->value;
}

std::vector<Standing> leaderboard(std::span<const TrialRecord> trials, Goal goal, std::span<const std::int64_t> rungs) {
  std::map<std::int64_t, Trials> points;
  for (const TrialRecord& trial : trials) {
    points[trial.point].push_back(&trial);
  }
  std::vector<Standing> standings;
  for (const auto& [point, replicas] : points) {
    standings.push_back(standing_of(point, replicas, rungs));
  }
  std::ranges::sort(standings, [&](const Standing& left, const Standing& right) { return before(left, right, goal); });
  for (std::size_t i = 0; i < standings.size(); ++i) {
    standings[i].place = static_cast<std::int64_t>(i) + 1;
  }
  return standings;
}

}  // namespace dormer::sweep
