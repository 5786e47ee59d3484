#include "dormer/sweep/timeline.hpp"

#include <algorithm>

namespace dormer::sweep {

void Timeline::apply(const Event& event) {
  first_ = begun_ ? first_ : event.time;
  begun_ = true;
  last_ = std::max(last_, event.time - first_);
  switch (event.kind) {
    case EventKind::kStarted:
      // Another worker takes what was lost: the stay before ends here at the latest.
      if (const auto before = open_.find(event.trial); before != open_.end()) {
        stays_[before->second.stay].end = event.time - first_;
      }
      open_[event.trial] = {event.attempt, stays_.size()};
      stays_.push_back({event.worker, event.trial, event.time - first_, 0.0});
      break;
    case EventKind::kMeasured:
    case EventKind::kReleased:
    case EventKind::kFailed:
      close(event.trial, event.attempt, event.time - first_);
      break;
    case EventKind::kLost:
      for (const auto& [trial, open] : std::map(open_)) {
        if (stays_[open.stay].worker == event.worker) {
          close(trial, open.attempt, event.time - first_);
        }
      }
      break;
    case EventKind::kBegun:
    case EventKind::kStopped:
    case EventKind::kAdded:
    case EventKind::kInputs:
      break;
  }
}

void Timeline::close(std::int64_t trial, std::int64_t attempt, double time) {
  const auto found = open_.find(trial);
  if (found != open_.end() && found->second.attempt == attempt) {
    stays_[found->second.stay].end = time;
    open_.erase(found);
  }
}

std::vector<Stay> Timeline::stays() const {
  std::vector<Stay> stays = stays_;
  for (const auto& [trial, open] : open_) {
    stays[open.stay].end = last_;
  }
  return stays;
}

}  // namespace dormer::sweep
