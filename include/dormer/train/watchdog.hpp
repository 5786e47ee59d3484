#pragma once

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <pthread.h>

#include "dormer/comm/communicator.hpp"
#include "dormer/core/heartbeat.hpp"
#include "dormer/train/run_config.hpp"

namespace dormer::train {

/// Seconds that a phase may last without progress; nothing: as long as it likes. `step: auto` is ten times the usual
/// update, at least ten minutes. Pure.
[[nodiscard]] std::optional<double> deadline_of(const WatchdogSection& section, const Heartbeat::State& state);

/// Ends this process with exit code 86 when its work has not got on for too long, from a thread of its own that calls
/// no MPI: the launcher then ends the other ranks. Before that it writes `hung/rank-00001.json` (and `.stack`) into the
/// run directory, gives the other ranks a moment to do the same, and says which of them keeps the others waiting. A
/// file system that hangs delays the end by seconds, not for ever.
class Watchdog {
 public:
  /// Watches the calling thread's work, as it tells `heartbeat`, which must outlive this object. `rank` is what the
  /// launcher says before the ranks have met.
  Watchdog(const Heartbeat& heartbeat, const WatchdogSection& section, std::filesystem::path run_directory, int rank);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// Who this process is, and where the others are. All ranks call it, once.
  void meet(comm::Communicator& communicator);

 private:
  void watch();
  [[noreturn]] void end(const Heartbeat::State& state, double deadline);
  void report(const Heartbeat::State& state, double deadline) const;

  const Heartbeat& heartbeat_;
  WatchdogSection section_;
  std::filesystem::path folder_;
  pthread_t watched_;
  int rank_;
  std::vector<std::string> hosts_{};  // by rank; empty before the ranks have met
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace dormer::train
