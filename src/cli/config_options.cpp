#include "cli/config_options.hpp"

#include <CLI/CLI.hpp>

#include "dormer/config/tree.hpp"

namespace dormer::cli {

bool ConfigOptions::is_sweep() const {
  return config::Document::parse(config::Source::from_file(file)).root.find("sweep") != nullptr;
}

train::RunConfig ConfigOptions::load_run_or_sweep() const {
  return is_sweep() ? load_sweep().run : load();
}

void add_config_options(CLI::App& app, ConfigOptions& options, const std::string& file) {
  app.add_option("CONFIG", options.file, file)->required();
  app.add_option("--set", options.overrides, "group.key=value changes a key; null takes it away. May stand many times.")
      ->allow_extra_args(false)
      ->type_name("KEY=VALUE");
}

}  // namespace dormer::cli
