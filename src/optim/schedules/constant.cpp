#include "dormer/optim/schedule.hpp"

namespace dormer::optim::schedules {

ScheduleShape constant() {
  return [](const SchedulePoint&, const ScheduleOptions&) { return 1.0; };
}

}  // namespace dormer::optim::schedules
