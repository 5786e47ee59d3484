#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace dormer::sweep {

/// What a program says of an adapter: `command` runs in a shell, {adapter} in it standing for the path (also in the
/// variable DORMER_ADAPTER). The last line that it prints is the value: a number, or a JSON object with the number
/// "value". A usage error that shows the command where it fails, or says no number. Blocks until it ends.
[[nodiscard]] double evaluate(const std::string& command, const std::filesystem::path& adapter);

/// The number in what it printed. Pure; throws as `evaluate` does.
[[nodiscard]] double value_in(std::string_view printed, const std::string& command);

}  // namespace dormer::sweep
