#include "dormer/optim/schedule.hpp"

namespace dormer::optim::schedules {

ScheduleShape linear() {
  return [](double progress) { return 1.0 - progress; };
}

}  // namespace dormer::optim::schedules
