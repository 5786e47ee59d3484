#include <algorithm>
#include <memory>
#include <string>

#include "cli/ranks.hpp"
#include "cli/sweep_actions.hpp"
#include "cli/sweep_view.hpp"
#include "dormer/comm/single.hpp"
#include "dormer/comm/world.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/heartbeat.hpp"
#include "dormer/core/log.hpp"
#include "dormer/core/stop.hpp"
#include "dormer/sweep/worker.hpp"
#include "dormer/tensor/process.hpp"
#include "dormer/train/watchdog.hpp"

namespace dormer::cli {
namespace {

/// "trials: 12 complete, 3 running, 40 stopped; best 2.3121 (trial 7)", where it is not what was told last.
class Teller {
 public:
  explicit Teller(bool quiet) : quiet_(quiet) {}
  void tell(const sweep::Store& store) {
    const std::string line = quiet_ ? std::string() : progress_text(store.scheduler(), store.config());
    if (!line.empty() && line != told_) {
      log::info("{}", line);
      told_ = line;
    }
  }

 private:
  bool quiet_;
  std::string told_;
};

std::size_t pack_of(const sweep::SweepConfig& config) {
  // On a CPU a pack is slower than its trials one after another (docs/sweeps.md); on a GPU nothing was measured yet.
  return static_cast<std::size_t>(config.sweep.pack_limit().value_or(1));
}

int work_at(const sweep::SweepConfig& config, comm::Communicator& world, Heartbeat& heartbeat, bool quiet) {
  const std::unique_ptr<comm::Communicator> alone = comm::single();
  comm::Communicator& own = world.size() == 1 ? world : *alone;
  sweep::Store store(config, [&] { heartbeat.progress(); });
  sweep::TrialRunner runner(store, own, &heartbeat);
  Teller teller(quiet || world.rank() > 0);
  teller.tell(store);
  const sweep::WorkEnd end =
      sweep::work(store, [&](std::span<const sweep::Assignment> assignments) { return runner.run(assignments); },
                  {.pack = pack_of(config), .on_change = [&] { teller.tell(store); }, .heartbeat = &heartbeat});
  if (end == sweep::WorkEnd::kAsked) {
    log::info("saved; start the same command again to go on");
    return static_cast<int>(Fault::kRequeue);
  }
  if (world.rank() == 0) {
    write_sweep_report(store.scheduler(), config);
    if (!quiet) {
      fmt::print("{}", status_of(store.scheduler(), config, 10));
    }
  }
  const std::string& ending = store.scheduler().ending();
  if (store.scheduler().ending_fault()) {
    fail_together(*store.scheduler().ending_fault(), "the sweep ends: {}; dormer sweep status tells which and why",
                  ending);
  }
  if (!ending.empty()) {
    log::info("the sweep ends: {}", ending);
  }
  return 0;
}

}  // namespace

int sweep_run(const ConfigOptions& options, bool quiet) {
  const sweep::SweepConfig config = options.load_sweep();
  require(
      config.sweep.ranks_per_trial == 1, Fault::kUsage,
      "sweep.ranks_per_trial is {}: a trial is trained by one rank in this version; write 1, and start as many ranks "
      "as trials shall run at once",
      config.sweep.ranks_per_trial);
  comm::refuse_lone_rank(comm::current_environment());
  if (quiet) {
    log::set_level(log::Level::kWarning);
  }
  tensor::configure_process(config.run.run.threads);
  install_stop_handlers();
  Heartbeat heartbeat;
  train::Watchdog watchdog(heartbeat, config.run.run.watchdog, config.run.run.directory, launched_rank().value_or(0));
  return run_on_ranks(
      [&](comm::Communicator& world) {
        watchdog.meet(world);
        return work_at(config, world, heartbeat, quiet);
      },
      &heartbeat);
}

}  // namespace dormer::cli
