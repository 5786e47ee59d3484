#include "dormer/optim/schedule.hpp"

namespace dormer::optim::schedules {

// REX, the reflected exponential (Chen et al. 2021).
ScheduleShape rex() {
  return [](const SchedulePoint& point, const ScheduleOptions&) {
    const double rest = 1.0 - point.progress;
    return rest / (0.5 + 0.5 * rest);
  };
}

}  // namespace dormer::optim::schedules
