#include "dormer/optim/schedule.hpp"

#include <algorithm>

namespace dormer::optim {

Schedule::Schedule(const std::string& kind, ScheduleHorizon horizon)
    : shape_(schedule_registry().get("schedule.kind", kind)), horizon_(horizon) {
  require(horizon.warmup <= horizon.total, Fault::kUsage,
          "schedule.warmup is {} updates, but the run has {}: shorten the warm-up or lengthen the run", horizon.warmup,
          horizon.total);
}

double Schedule::factor(std::int64_t step) const {
  if (step < horizon_.warmup) {
    return static_cast<double>(step + 1) / static_cast<double>(horizon_.warmup);
  }
  const auto after = static_cast<double>(std::max<std::int64_t>(horizon_.total - horizon_.warmup, 1));
  return shape_(std::min(static_cast<double>(step - horizon_.warmup) / after, 1.0));
}

}  // namespace dormer::optim
