#include "dormer/optim/schedule.hpp"

namespace dormer::optim::schedules {

ScheduleShape linear() {
  return [](const SchedulePoint& point, const ScheduleOptions&) { return 1.0 - point.progress; };
}

}  // namespace dormer::optim::schedules
