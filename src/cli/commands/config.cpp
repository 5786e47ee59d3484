#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "cli/command.hpp"
#include "cli/config_options.hpp"
#include "dormer/config/write.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/core/nearest_name.hpp"
#include "dormer/migration/import.hpp"
#include "dormer/sweep/sweep_config.hpp"
#include "dormer/train/run_config.hpp"

namespace dormer::cli::commands {
namespace {

/// A value as scripts want it: texts that YAML needs in quotes without them.
std::string without_quotes(const std::string& value) {
  if (!value.starts_with('"')) {
    return value;
  }
  std::string plain;
  for (std::size_t index = 1; index + 1 < value.size(); ++index) {
    index += value[index] == '\\' ? 1 : 0;
    plain += value[index];
  }
  return plain;
}

std::string value_of(const train::RunConfig& config, const std::string& key) {
  const std::map<std::string, std::string> values = config::flatten(config);
  const auto found = values.find(key);
  if (found == values.end()) {
    std::vector<std::string> names;
    for (const auto& [name, value] : values) {
      names.push_back(name);
    }
    fail(Fault::kUsage, "{}: no such key{}", key, did_you_mean(key, names));
  }
  return without_quotes(found->second);
}

/// The run, and of a sweep its own keys; the space as it stands in the file.
std::string shown(const ConfigOptions& options) {
  if (!options.is_sweep()) {
    return config::dump(options.load());
  }
  const sweep::SweepConfig sweep = options.load_sweep();
  std::string text = config::dump(sweep.run) + "sweep:\n";
  std::istringstream lines(config::dump(sweep.sweep));
  for (std::string line; std::getline(lines, line);) {
    text += "  " + line + '\n';
  }
  for (const std::string& line : sweep.space.description()) {
    text += "  # space: " + line + '\n';
  }
  return text;
}

/// What is to be looked at is told beside the file, which may go through a pipe.
std::string imported(const std::string& program, const std::filesystem::path& file) {
  const migration::Import import = migration::import_config(program, file);
  for (const std::string& line : import.unmapped) {
    log::warn("not mapped: {}", line);
  }
  for (const std::string& line : import.mistakes) {
    log::warn("to be put right before it runs: {}", line);
  }
  return import.yaml;
}

Action declare(CLI::App& app) {
  const auto options = std::make_shared<ConfigOptions>();
  const auto key = std::make_shared<std::string>();
  app.require_subcommand(1);
  CLI::App* show = app.add_subcommand("show", "Prints a configuration with every default filled in.");
  add_config_options(*show, *options);
  show->footer("Example:\n  dormer config show configs/quickstart.yaml --set adapter.rank=8");
  CLI::App* get = app.add_subcommand("get", "Prints the value of one key, for scripts.");
  get->add_option("KEY", *key, "A key with its groups: run.directory.")->required();
  add_config_options(*get, *options);
  get->footer("Example:\n  dormer config get run.directory configs/quickstart.yaml");
  const auto program = std::make_shared<std::string>();
  const auto file = std::make_shared<std::string>();
  CLI::App* import = app.add_subcommand("import", "Prints another trainer's configuration as one of ours.");
  std::string programs;
  const Registry<migration::Program> registry = migration::program_registry();
  for (const auto& [name, known] : registry.entries()) {
    programs += fmt::format("{}{}: {}", programs.empty() ? "" : "; ", name, known.files);
  }
  import->add_option("PROGRAM", *program, programs)->required();
  import->add_option("FILE", *file, "Its file (JSON, YAML or TOML).")->required();
  import->footer("Example:\n  dormer config import onetrainer config.json > mine.yaml");
  CLI::App* reference = app.add_subcommand("reference", "Prints the page of all keys (docs/configuration.md).");
  reference->footer("Example:\n  dormer config reference > docs/configuration.md");
  return [options, key, program, file, show, get, import] {
    const std::string text = show->parsed()     ? shown(*options)
                             : import->parsed() ? imported(*program, *file)
                             : get->parsed()    ? value_of(options->load_run_or_sweep(), *key) + '\n'
                                                : train::configuration_page() + sweep::configuration_section();
    std::fputs(text.c_str(), stdout);
    return 0;
  };
}

}  // namespace

Command config() {
  return {"config", "Shows a configuration, or all keys there are.",
          "dormer config show configs/quickstart.yaml\n  dormer config import kohya config.toml > mine.yaml", declare};
}

}  // namespace dormer::cli::commands
