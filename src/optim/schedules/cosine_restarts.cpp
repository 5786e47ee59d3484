#include "dormer/optim/schedule.hpp"

#include <cmath>
#include <numbers>

namespace dormer::optim::schedules {

// SGDR (Loshchilov and Hutter 2017) with cycles of one length: each falls from 1 to 0 and begins anew.
ScheduleShape cosine_restarts() {
  return [](const SchedulePoint& point, const ScheduleOptions& options) {
    if (point.progress >= 1.0) {
      return 0.0;  // the end of the last cycle, not the begin of one more
    }
    // In integers: a rounded product could miss the update at which a cycle begins.
    const auto place = static_cast<double>(options.cycles * point.updates % point.length);
    return 0.5 * (1.0 + std::cos(std::numbers::pi * (place / static_cast<double>(point.length))));
  };
}

}  // namespace dormer::optim::schedules
