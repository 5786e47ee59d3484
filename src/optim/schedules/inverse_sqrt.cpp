#include "dormer/optim/schedule.hpp"

#include <algorithm>
#include <cmath>

namespace dormer::optim::schedules {

// Vaswani et al. 2017: as the warm-up's length over all updates so far, to the power 1/2. It does not know the run's
// end.
ScheduleShape inverse_sqrt() {
  return [](const SchedulePoint& point, const ScheduleOptions&) {
    const auto warmup = static_cast<double>(std::max<std::int64_t>(point.warmup, 1));
    return std::sqrt(warmup / (warmup + static_cast<double>(point.updates)));
  };
}

}  // namespace dormer::optim::schedules
