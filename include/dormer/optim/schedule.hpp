#pragma once

#include <cstdint>
#include <string>

#include "dormer/core/registry.hpp"

namespace dormer::optim {

/// The updates of a run that a schedule stretches over.
struct ScheduleHorizon {
  std::int64_t total = 0;   ///< updates in all
  std::int64_t warmup = 0;  ///< the first of them, in which the factor rises linearly
};

/// What single shapes can be told; the others pass over it.
struct ScheduleOptions {
  std::int64_t cycles = 1;  ///< of cosine_restarts; at least 1
  double power = 1.0;       ///< of polynomial; above 0
  /// Of every shape, in [0, 1): it falls towards this instead of 0, that is m + (1 - m) * shape. Warm-up knows none.
  double minimum_factor = 0.0;
};

/// Where an update stands after the warm-up.
struct SchedulePoint {
  double progress = 0.0;     ///< from 0 (the first update after the warm-up) to 1 (the end of the run, and later)
  std::int64_t updates = 0;  ///< since the warm-up, counted from 0
  std::int64_t length = 1;   ///< updates from the warm-up to the end of the run, at least 1
  std::int64_t warmup = 0;   ///< updates of the warm-up
};

/// The factor after warm-up, before its minimum. Pure.
using ScheduleShape = double (*)(const SchedulePoint& point, const ScheduleOptions& options);

/// All kinds by name: constant, linear, cosine, cosine_restarts, polynomial, inverse_sqrt, rex. Generated from the list
/// in src/optim/CMakeLists.txt.
[[nodiscard]] Registry<ScheduleShape> schedule_registry();

/// A learning rate's factor for every update. Pure.
class Schedule {
 public:
  /// Throws a usage error for an unknown kind and for a warm-up that is longer than the run.
  Schedule(const std::string& kind, ScheduleHorizon horizon, ScheduleOptions options = {});

  /// The factor of update `step`, counted from 0. Update k of a warm-up of n has (k + 1) / n: no update is lost at
  /// factor 0.
  [[nodiscard]] double factor(std::int64_t step) const;
  [[nodiscard]] const ScheduleHorizon& horizon() const { return horizon_; }

 private:
  ScheduleShape shape_;
  ScheduleHorizon horizon_;
  ScheduleOptions options_;
};

}  // namespace dormer::optim
