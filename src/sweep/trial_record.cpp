#include "dormer/sweep/trial_record.hpp"

#include "dormer/core/error.hpp"

namespace dormer::sweep {

std::string_view name_of(TrialState state) {
  switch (state) {
    case TrialState::kWaiting:
      return "waiting";
    case TrialState::kRunning:
      return "running";
    case TrialState::kComplete:
      return "complete";
    case TrialState::kStopped:
      return "stopped";
    case TrialState::kFailed:
      return "failed";
  }
  fail(Fault::kBug, "trial state {}", static_cast<int>(state));
}

}  // namespace dormer::sweep
