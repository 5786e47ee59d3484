#include "dormer/optim/schedule.hpp"

#include <cmath>

namespace dormer::optim::schedules {

ScheduleShape polynomial() {
  return [](const SchedulePoint& point, const ScheduleOptions& options) {
    return std::pow(1.0 - point.progress, options.power);
  };
}

}  // namespace dormer::optim::schedules
