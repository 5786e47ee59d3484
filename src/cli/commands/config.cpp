#include <cstdio>
#include <memory>

#include <CLI/CLI.hpp>

#include "cli/command.hpp"
#include "cli/config_options.hpp"
#include "dormer/config/write.hpp"
#include "dormer/train/run_config.hpp"

namespace dormer::cli::commands {
namespace {

Action declare(CLI::App& app) {
  const auto options = std::make_shared<ConfigOptions>();
  app.require_subcommand(1);
  CLI::App* show = app.add_subcommand("show", "Prints a configuration with every default filled in.");
  add_config_options(*show, *options);
  show->footer("Example:\n  dormer config show configs/quickstart.yaml --set adapter.rank=8");
  CLI::App* reference = app.add_subcommand("reference", "Prints the page of all keys (docs/configuration.md).");
  reference->footer("Example:\n  dormer config reference > docs/configuration.md");
  return [options, show] {
    const std::string text = show->parsed() ? config::dump(options->load()) : train::configuration_page();
    std::fputs(text.c_str(), stdout);
    return 0;
  };
}

}  // namespace

Command config() {
  return {"config", "Shows a configuration, or all keys there are.",
          "dormer config show configs/quickstart.yaml\n  dormer config reference", declare};
}

}  // namespace dormer::cli::commands
