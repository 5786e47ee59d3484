#include "dormer/optim/schedule.hpp"

namespace dormer::optim::schedules {

ScheduleShape constant() {
  return [](double) { return 1.0; };
}

}  // namespace dormer::optim::schedules
