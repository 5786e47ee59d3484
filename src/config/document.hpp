#pragma once

#include <string>
#include <string_view>

#include "dormer/config/tree.hpp"

namespace dormer::config {

/// Parses one YAML document that may come from anywhere. `source` stands in messages before the line; `place` gives the
/// override index of every node. Throws a usage error "source:line: …" for what is not one document of UTF-8 YAML
/// within the caps: 1 MiB, 64 levels, 20,000 nodes with aliases written out.
[[nodiscard]] Node parse_document(std::string_view text, const std::string& source, Place place = {});

/// Applies "a.b.0.c=value" to `root`: maps on the way are made, a number picks an item of a list, null takes the key
/// away. What follows the path `undivided` is one key. Throws a usage error for a line that cannot be applied.
void apply_override(Node& root, const std::string& line, int index, std::string_view undivided = {});

}  // namespace dormer::config
