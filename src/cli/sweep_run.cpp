#include <memory>
#include <optional>
#include <string>

#include "cli/ranks.hpp"
#include "cli/sweep_actions.hpp"
#include "cli/sweep_view.hpp"
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

/// The report; the status with what else there is to say, in one piece: mpirun forwards two streams bytewise, and would
/// put a line of the log into the midst of a table.
void show_end(const SweepView& view, const sweep::SweepConfig& config, bool quiet) {
  const std::string report = write_sweep_report(view, config);
  if (quiet) {
    return;
  }
  std::string text = status_of(view.scheduler(), config, 10);
  if (!view.scheduler().ending().empty() && !view.scheduler().ending_fault()) {
    text += fmt::format("\nthe sweep ends: {}\n", view.scheduler().ending());
  }
  fmt::print("{}{}", text, report.empty() ? "" : fmt::format("\n{}\n", report));
}

int work_at(const sweep::SweepConfig& config, comm::Communicator& world, Heartbeat& heartbeat, bool quiet) {
  const auto ranks = static_cast<int>(config.sweep.ranks_per_trial);
  if (world.size() % ranks != 0) {
    fail_together(Fault::kUsage,
                  "sweep.ranks_per_trial is {} and there are {} ranks: start a multiple of {}, or write another number",
                  ranks, world.size(), ranks);
  }
  const std::unique_ptr<comm::Communicator> worker = world.split(world.rank() / ranks);
  std::optional<sweep::Store> store;  // of the worker's first rank
  if (worker->rank() == 0) {
    store.emplace(config, [&] { heartbeat.progress(); });
  }
  Teller teller(quiet || world.rank() > 0);
  if (store) {
    teller.tell(*store);
  }
  const sweep::WorkEnd end = sweep::work(config, store ? &*store : nullptr, *worker,
                                         {.on_change = [&] { teller.tell(*store); }, .heartbeat = &heartbeat});
  worker->finalize();
  if (end == sweep::WorkEnd::kAsked) {
    log::info("saved; start the same command again to go on");
    return static_cast<int>(Fault::kRequeue);
  }
  const SweepView view(config);
  const std::string& ending = view.scheduler().ending();
  if (world.rank() == 0) {
    show_end(view, config, quiet);
  }
  if (view.scheduler().ending_fault()) {
    fail_together(*view.scheduler().ending_fault(), "the sweep ends: {}; dormer sweep status tells which and why",
                  ending);
  }
  return 0;
}

}  // namespace

int sweep_run(const ConfigOptions& options, bool quiet) {
  const sweep::SweepConfig config = options.load_sweep();
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
