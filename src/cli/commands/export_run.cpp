#include <cstdio>
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/command.hpp"
#include "cli/config_options.hpp"
#include "cli/ranks.hpp"
#include "dormer/tensor/process.hpp"
#include "dormer/train/run.hpp"

namespace dormer::cli::commands {
namespace {

int export_stored(const ConfigOptions& options) {
  const train::RunConfig config = options.load();
  tensor::configure_process(config.run.threads);
  return run_on_ranks([&](comm::Communicator& world) {
    const std::vector<std::filesystem::path> folders = train::export_run(config, world);
    for (const std::filesystem::path& folder : folders) {
      if (world.rank() == 0) {
        fmt::print("{}\n", folder.string());
      }
    }
    return 0;
  });
}

Action declare(CLI::App& app) {
  const auto options = std::make_shared<ConfigOptions>();
  add_config_options(app, *options);
  return [options] { return export_stored(*options); };
}

}  // namespace

Command export_run() {
  return {"export", "Writes a run's exports from its checkpoints.",
          "dormer export configs/quickstart.yaml --set 'export=[{for: peft, dtype: bfloat16}]'", declare};
}

}  // namespace dormer::cli::commands
