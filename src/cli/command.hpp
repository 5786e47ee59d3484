#pragma once

#include <functional>
#include <string>

#include "dormer/core/registry.hpp"

namespace CLI {  // NOLINT(readability-identifier-naming): the name that CLI11 has
class App;
}

namespace dormer::cli {

/// What a command does once the line is parsed; returns the exit code.
using Action = std::function<int()>;

/// One word of the command line.
struct Command {
  std::string name;
  std::string purpose;               ///< one sentence
  std::string example;               ///< one or more whole lines that a user can type
  Action (*declare)(CLI::App& app);  ///< adds options to `app`; the action holds what they filled
};

/// All commands, in the order of the help. Generated from the list in src/cli/CMakeLists.txt.
[[nodiscard]] Registry<Command> command_registry();

}  // namespace dormer::cli
