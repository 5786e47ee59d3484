#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace dormer::storage {

/// Parses JSON in which no object may hold a key twice (the library would keep the last one without a word) and nothing
/// nests deeper than 64 levels. `where` names the text in errors ("bad index model.safetensors.index.json"; input
/// faults).
[[nodiscard]] nlohmann::json parse_strict_json(const std::string& text, std::string_view where);

}  // namespace dormer::storage
