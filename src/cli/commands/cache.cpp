#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "cli/command.hpp"
#include "cli/config_options.hpp"
#include "cli/ranks.hpp"
#include "dormer/comm/world.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/core/heartbeat.hpp"
#include "dormer/core/log.hpp"
#include "dormer/core/stop.hpp"
#include "dormer/tensor/process.hpp"
#include "dormer/train/fill_cache.hpp"
#include "dormer/train/watchdog.hpp"

namespace dormer::cli::commands {
namespace {

struct Options {
  ConfigOptions config;
  std::optional<std::string> texts_file;
};

/// One rank does it, however many there are.
int list_texts(const Options& options) {
  const train::RunConfig config = options.config.load();
  if (launched_rank().value_or(0) == 0) {
    const std::vector<std::string> texts = train::list_texts(config);
    write_file_atomically(*options.texts_file,
                          nlohmann::json(texts).dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    log::info("{}: {} texts", *options.texts_file, texts.size());
  }
  return 0;
}

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
  const auto options = std::make_shared<Options>();
  add_config_options(app, options->config);
  app.add_option("--list-texts", options->texts_file,
                 "Encode nothing; write every text that the run reads into this file, as launch/import_embeddings.py "
                 "takes it.");
  return [options] { return options->texts_file ? list_texts(*options) : fill(options->config); };
}

}  // namespace

Command cache() {
  return {"cache", "Encodes the images and texts of a run beforehand; several ranks share the work.",
          "mpirun -np 4 dormer cache configs/sd15_dora.yaml", declare};
}

}  // namespace dormer::cli::commands
