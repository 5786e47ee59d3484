#include "dormer/sweep/worker.hpp"

#include "dormer/train/available_memory.hpp"
#include "sweep/trial_feed.hpp"
#include "sweep/trial_runner.hpp"

namespace dormer::sweep {

WorkEnd work(const SweepConfig& config, Store* store, comm::Communicator& ranks, const WorkOptions& options) {
  TrialFeed feed(store, ranks, options);
  TrialRunner runner(feed, config, ranks, options.heartbeat, train::available_memory(ranks, config.run));
  while (true) {
    if (const std::optional<WorkEnd> end = runner.run()) {
      return *end;
    }
    feed.pause();
  }
}

}  // namespace dormer::sweep
