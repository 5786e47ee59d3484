#include "dormer/optim/schedule.hpp"

#include <algorithm>

namespace dormer::optim {

Schedule::Schedule(const std::string& kind, ScheduleHorizon horizon, ScheduleOptions options)
    : shape_(schedule_registry().get("schedule.kind", kind)), horizon_(horizon), options_(options) {
  require(horizon.warmup <= horizon.total, Fault::kUsage,
          "schedule.warmup is {} updates, but the run has {}: shorten the warm-up or lengthen the run", horizon.warmup,
          horizon.total);
}

double Schedule::factor(std::int64_t step) const {
  if (step < horizon_.warmup) {
    return static_cast<double>(step + 1) / static_cast<double>(horizon_.warmup);
  }
  const std::int64_t length = std::max<std::int64_t>(horizon_.total - horizon_.warmup, 1);
  const std::int64_t updates = step - horizon_.warmup;
  const SchedulePoint point{.progress = std::min(static_cast<double>(updates) / static_cast<double>(length), 1.0),
                            .updates = updates,
                            .length = length,
                            .warmup = horizon_.warmup};
  return options_.minimum_factor + (1.0 - options_.minimum_factor) * shape_(point, options_);
}

}  // namespace dormer::optim
