#include "cli/config_options.hpp"

#include <CLI/CLI.hpp>

namespace dormer::cli {

void add_config_options(CLI::App& app, ConfigOptions& options) {
  app.add_option("CONFIG", options.file, "The run's YAML file.")->required();
  app.add_option("--set", options.overrides, "group.key=value changes a key; null takes it away. May stand many times.")
      ->allow_extra_args(false)
      ->type_name("KEY=VALUE");
}

}  // namespace dormer::cli
