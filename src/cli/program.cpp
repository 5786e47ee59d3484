#include "dormer/cli/program.hpp"

#include <string>
#include <utility>
#include <vector>

#include <torch/version.h>
#include <CLI/CLI.hpp>

#include "cli/command.hpp"
#include "cli/ranks.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"

namespace dormer::cli {
namespace {

constexpr const char* kPurpose = "Fine-tunes language models with DoRA and LoRA, on one rank or many.";
constexpr const char* kExample =
    "Example:\n  mpirun -np 2 dormer train configs/quickstart.yaml\n"
    "  dormer COMMAND --help tells a command's options.";

std::string version_text() {
  return fmt::format("dormer {} (LibTorch {}, {})", DORMER_VERSION, TORCH_VERSION, DORMER_BUILD_TYPE);
}

/// The deepest command that the line named, for "see … --help".
std::string named_command(const CLI::App& app) {
  const CLI::App* deepest = &app;
  std::string line = app.get_name();
  for (auto parsed = deepest->get_subcommands(); !parsed.empty(); parsed = deepest->get_subcommands()) {
    deepest = parsed.front();
    line += " " + deepest->get_name();
  }
  return line;
}

int parse_and_run(int argc, const char* const* argv) {
  CLI::App app{kPurpose, "dormer"};
  app.footer(kExample);
  app.set_version_flag("--version", version_text());
  app.require_subcommand(1);
  std::vector<std::pair<const CLI::App*, Action>> actions;
  const Registry<Command> registry = command_registry();
  for (const auto& [key, command] : registry.entries()) {
    CLI::App* subcommand = app.add_subcommand(command.name, command.purpose);
    subcommand->footer("Example:\n  " + command.example);
    actions.emplace_back(subcommand, command.declare(*subcommand));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& request) {  // --help, --version
    return speaks_for_all() ? app.exit(request) : 0;
  } catch (const CLI::ParseError& error) {
    fail(Fault::kUsage, "{}; see {} --help", error.what(), named_command(app));
  }
  for (const auto& [subcommand, action] : actions) {
    if (subcommand->parsed()) {
      return action();
    }
  }
  return 0;
}

}  // namespace

int run(int argc, const char* const* argv) {
  try {
    return parse_and_run(argc, argv);
  } catch (...) {
    return report_current_exception(!speaks_for_all());
  }
}

}  // namespace dormer::cli
