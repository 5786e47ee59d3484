#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/sweep/point.hpp"

namespace dormer::sweep {

enum class TrialState : std::uint8_t {
  kWaiting,   ///< not begun, or paused until it is known whether it goes on
  kRunning,   ///< a worker has it
  kComplete,  ///< all its updates are done
  kStopped,   ///< others were better, or somebody said so
  kFailed     ///< it could not go on; `reason` says why
};
[[nodiscard]] std::string_view name_of(TrialState state);

/// The sweep's metric after `step` updates.
struct Measurement {
  std::int64_t step = 0;
  double value = 0.0;
  double seconds = 0.0;  ///< of training, over all lives of the trial
};

/// What is known of one trial: a point of the space under one seed. Trials are numbered point * seeds + replica.
struct TrialRecord {
  std::int64_t number = 0;
  std::int64_t point = 0;    ///< the number of its point
  std::int64_t replica = 0;  ///< of the point's seeds
  Point settings;
  TrialState state = TrialState::kWaiting;
  std::vector<Measurement> measurements{};   ///< steps ascending
  std::optional<std::int64_t> parameters{};  ///< that it trains; nothing before the first measurement
  std::string reason;                        ///< of a failure or stop, one line
  std::string worker;                        ///< the one that has or had it last; empty: none yet
  /// The last measurement's value; nothing before the first.
  [[nodiscard]] std::optional<double> value() const {
    return measurements.empty() ? std::nullopt : std::optional(measurements.back().value);
  }
  [[nodiscard]] std::int64_t steps() const { return measurements.empty() ? 0 : measurements.back().step; }
  [[nodiscard]] double seconds() const { return measurements.empty() ? 0.0 : measurements.back().seconds; }
};

}  // namespace dormer::sweep
