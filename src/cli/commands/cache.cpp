#include <memory>

#include <CLI/CLI.hpp>

#include "cli/command.hpp"
#include "cli/config_options.hpp"
#include "cli/ranks.hpp"
#include "dormer/comm/world.hpp"
#include "dormer/core/heartbeat.hpp"
#include "dormer/core/log.hpp"
#include "dormer/core/stop.hpp"
#include "dormer/tensor/process.hpp"
#include "dormer/train/fill_cache.hpp"
#include "dormer/train/watchdog.hpp"

namespace dormer::cli::commands {
namespace {

int fill(const ConfigOptions& options) {
  const train::RunConfig config = options.load();
  comm::refuse_lone_rank(comm::current_environment());
  tensor::configure_process(config.run.threads);
  install_stop_handlers();
  Heartbeat heartbeat;
  train::Watchdog watchdog(heartbeat, config.run.watchdog, config.run.directory, launched_rank().value_or(0));
  return run_on_ranks(
      [&](comm::Communicator& world) {
        watchdog.meet(world);
        log::info("{}", train::fill_cache(config, world, &heartbeat));
        return 0;
      },
      &heartbeat);
}

Action declare(CLI::App& app) {
  const auto options = std::make_shared<ConfigOptions>();
  add_config_options(app, *options);
  return [options] { return fill(*options); };
}

}  // namespace

Command cache() {
  return {"cache", "Encodes the images and texts of a run beforehand; several ranks share the work.",
          "mpirun -np 4 dormer cache configs/sd15_dora.yaml", declare};
}

}  // namespace dormer::cli::commands
