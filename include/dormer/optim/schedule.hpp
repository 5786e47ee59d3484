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

/// The factor after warm-up, for progress from 0 (the first update after it) towards 1 (the end of the run).
using ScheduleShape = double (*)(double progress);

/// All kinds by name: constant, linear, cosine. Generated from the list in src/optim/CMakeLists.txt.
[[nodiscard]] Registry<ScheduleShape> schedule_registry();

/// A learning rate's factor for every update. Pure.
class Schedule {
 public:
  /// Throws a usage error for an unknown kind and for a warm-up that is longer than the run.
  Schedule(const std::string& kind, ScheduleHorizon horizon);

  /// The factor of update `step`, counted from 0. Update k of a warm-up of n has (k + 1) / n: no update is lost at
  /// factor 0.
  [[nodiscard]] double factor(std::int64_t step) const;
  [[nodiscard]] const ScheduleHorizon& horizon() const { return horizon_; }

 private:
  ScheduleShape shape_;
  ScheduleHorizon horizon_;
};

}  // namespace dormer::optim
