#include <charconv>
#include <memory>
#include <string>
#include <system_error>

#include <unistd.h>
#include <CLI/CLI.hpp>

#include "cli/command.hpp"
#include "cli/config_options.hpp"
#include "cli/progress.hpp"
#include "cli/ranks.hpp"
#include "dormer/comm/world.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/heartbeat.hpp"
#include "dormer/core/log.hpp"
#include "dormer/core/stop.hpp"
#include "dormer/tensor/process.hpp"
#include "dormer/train/run.hpp"
#include "dormer/train/watchdog.hpp"

namespace dormer::cli::commands {
namespace {

struct Options {
  ConfigOptions config;
  std::string trace;
  bool quiet = false;
};

void tell_end(const train::RunConfig& config, const train::TrainResult& result) {
  if (result.outcome == train::Outcome::kSavedForRequeue) {
    if (result.step > 0) {
      log::info("saved after update {}; start the same command again to go on", result.step);
    } else {
      log::info("ended before the first update, with nothing to save; start the same command again");
    }
    return;
  }
  if (result.step == result.first_step) {
    log::info("{}: all {} updates were done before; nothing to train", config.run.directory.string(), result.step);
  } else {
    log::info("done: {} updates", result.step);
  }
  if (result.first_validation_loss && result.last_validation_loss) {
    log::info("held-out loss {:.4f} -> {:.4f}", *result.first_validation_loss, *result.last_validation_loss);
  }
  for (const auto& path : result.exports) {
    log::info("export: {}", path.string());
  }
}

train::UpdateRange traced_updates(const std::string& text) {
  if (text.empty()) {
    return {};
  }
  train::UpdateRange range;
  const char* const end = text.data() + text.size();
  std::from_chars_result read = std::from_chars(text.data(), end, range.first);
  range.last = range.first;
  if (read.ec == std::errc{} && read.ptr != end && *read.ptr == '-') {
    read = std::from_chars(read.ptr + 1, end, range.last);
  }
  require(read.ec == std::errc{} && read.ptr == end && range.first >= 1 && range.last >= range.first, Fault::kUsage,
          "--trace: '{}' names no update; write one number from 1, or two such as 1-20", text);
  return range;
}

int train_run(const Options& options) {
  const train::RunConfig config = options.config.load();
  comm::refuse_lone_rank(comm::current_environment());
  if (options.quiet) {
    log::set_level(log::Level::kWarning);
  }
  tensor::configure_process(config.run.threads);
  install_stop_handlers();
  Heartbeat heartbeat;
  train::Watchdog watchdog(heartbeat, config.run.watchdog, config.run.directory, launched_rank().value_or(0));
  const auto body = [&](comm::Communicator& world) {
    watchdog.meet(world);
    ProgressLine line(!options.quiet && isatty(STDERR_FILENO) != 0);
    train::TrainOptions train_options{
        .traced = traced_updates(options.trace), .on_progress = nullptr, .heartbeat = &heartbeat};
    if (!options.quiet) {
      train_options.on_progress = [&](const train::Progress& progress) { line.show(progress); };
    }
    const train::TrainResult result = train::train(config, world, train_options);
    line.end();
    tell_end(config, result);
    return result.outcome == train::Outcome::kSavedForRequeue ? static_cast<int>(Fault::kRequeue) : 0;
  };
  return run_on_ranks(body, &heartbeat);
}

Action declare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_config_options(app, options->config);
  app.add_option("--trace", options->trace,
                 "Write everything of update K (from 1), or of all from K to L, to trace/ of the run directory.")
      ->type_name("K[-L]");
  app.add_flag("--quiet", options->quiet, "Only warnings and errors.");
  return [options] { return train_run(*options); };
}

}  // namespace

Command train() {
  return {
      "train", "Trains an adapter; the same line under mpirun or srun uses all its ranks.",
      "dormer train configs/quickstart.yaml\n  mpirun -np 2 dormer train configs/quickstart.yaml --set run.steps=10",
      declare};
}

}  // namespace dormer::cli::commands
