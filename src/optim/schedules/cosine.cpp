#include "dormer/optim/schedule.hpp"

#include <cmath>
#include <numbers>

namespace dormer::optim::schedules {

ScheduleShape cosine() {
  return [](const SchedulePoint& point, const ScheduleOptions&) {
    return 0.5 * (1.0 + std::cos(std::numbers::pi * point.progress));
  };
}

}  // namespace dormer::optim::schedules
