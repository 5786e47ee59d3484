#include "dormer/optim/schedule.hpp"

#include <cmath>
#include <numbers>

namespace dormer::optim::schedules {

ScheduleShape cosine() {
  return [](double progress) { return 0.5 * (1.0 + std::cos(std::numbers::pi * progress)); };
}

}  // namespace dormer::optim::schedules
