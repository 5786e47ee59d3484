#include "dormer/sweep/worker.hpp"

#include <chrono>
#include <thread>

#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/core/stop.hpp"
#include "sweep/worker_file.hpp"

namespace dormer::sweep {
namespace {

constexpr std::chrono::milliseconds kPoll{200};
constexpr std::chrono::minutes kDiskPatience{10};

void wait_a_moment(const WorkOptions& options) {
  if (options.heartbeat != nullptr) {
    options.heartbeat->enter(Heartbeat::Phase::kIo, "waiting for other workers");
  }
  std::this_thread::sleep_for(kPoll);
}

/// What a trial came to must not be lost to a disk that is full for a while. Its checkpoint is there in any case.
void append_patiently(Store& store, const std::vector<Event>& events, const WorkOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  bool told = false;
  while (true) {
    try {
      store.append(events);
      return;
    } catch (const Error& error) {
      if (error.fault() != Fault::kIo || stop_requested() || std::chrono::steady_clock::now() - begin > kDiskPatience) {
        throw;
      }
      if (!told) {
        log::warn("{}; waiting", error.what());
        told = true;
      }
      wait_a_moment(options);
    }
  }
}

}  // namespace

WorkEnd work(Store& store, const RunTrials& run, const WorkOptions& options) {
  const WorkerFile own(store.paths().workers());
  while (!stop_requested()) {
    const std::vector<Assignment> assignments = store.claim(own.name(), options.pack);
    if (assignments.empty()) {
      if (store.scheduler().finished()) {
        return WorkEnd::kFinished;
      }
      wait_a_moment(options);
      continue;
    }
    append_patiently(store, run(assignments), options);
    if (options.on_change) {
      options.on_change();
    }
  }
  return store.scheduler().finished() ? WorkEnd::kFinished : WorkEnd::kAsked;
}

}  // namespace dormer::sweep
