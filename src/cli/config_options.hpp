#pragma once

#include <string>
#include <vector>

#include "dormer/sweep/sweep_config.hpp"
#include "dormer/train/run_config.hpp"

namespace CLI {  // NOLINT(readability-identifier-naming): the name that CLI11 has
class App;
}

namespace dormer::cli {

/// CONFIG [--set group.key=value …]
struct ConfigOptions {
  std::string file;
  std::vector<std::string> overrides;
  [[nodiscard]] train::RunConfig load() const { return train::load_run_config(file, overrides); }
  [[nodiscard]] sweep::SweepConfig load_sweep() const { return sweep::load_sweep_config(file, overrides); }
  /// Whether the file describes a sweep.
  [[nodiscard]] bool is_sweep() const;
  /// The run; of a sweep its ordinary part.
  [[nodiscard]] train::RunConfig load_run_or_sweep() const;
};

/// `options` must live as long as `app`; `file` says in the help what CONFIG is.
void add_config_options(CLI::App& app, ConfigOptions& options, const std::string& file = "The run's YAML file.");

}  // namespace dormer::cli
