#pragma once

#include <filesystem>

#include <nlohmann/json.hpp>

namespace dormer::migration {

using Json = nlohmann::ordered_json;

/// A file of settings as JSON: by its end, `.toml`, `.yaml` or `.yml`, else JSON. Input errors name the file.
[[nodiscard]] Json read_foreign_file(const std::filesystem::path& file);

}  // namespace dormer::migration
