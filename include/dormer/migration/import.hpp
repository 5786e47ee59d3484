#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "dormer/core/registry.hpp"

namespace dormer::migration {

class Translation;

/// A program whose configurations can be read. Its file is src/migration/programs/NAME.cpp.
struct Program {
  std::string name;
  std::string files;  ///< what it is given: "the JSON that its window saves"
  /// Reads the settings that it knows out of the translation and says what they are here.
  void (*translate)(Translation& translation) = nullptr;
};

/// All programs, by name.
[[nodiscard]] Registry<Program> program_registry();

/// A foreign configuration as ours.
struct Import {
  std::string yaml;                   ///< our file, with what was not mapped as comments at its end
  std::vector<std::string> unmapped;  ///< "key: value: why", a setting each
  std::vector<std::string> mistakes;  ///< what still keeps the file from being loaded: "group.key: why"
};

/// Reads `file` (JSON, YAML or TOML, by its end; what it names beside it, too) as a configuration of `program`. Input
/// errors name the file for what cannot be parsed, usage errors a program that is not known.
[[nodiscard]] Import import_config(const std::string& program, const std::filesystem::path& file);

}  // namespace dormer::migration
