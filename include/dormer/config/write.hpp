#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/config/visitor.hpp"

namespace dormer::config {

/// The YAML of what `describe` visits: every key, in the order of the description, readable again to an equal value.
[[nodiscard]] std::string dump(const std::function<void(Visitor&)>& describe);
template <typename T>
[[nodiscard]] std::string dump(T value) {
  return dump(std::function<void(Visitor&)>([&](Visitor& visitor) { value.describe(visitor); }));
}

/// Dotted key ("export.0.for") to the canonical text of its value: equal values have equal texts.
[[nodiscard]] std::map<std::string, std::string> flatten(const std::function<void(Visitor&)>& describe);
template <typename T>
[[nodiscard]] std::map<std::string, std::string> flatten(T value) {
  return flatten(std::function<void(Visitor&)>([&](Visitor& visitor) { value.describe(visitor); }));
}

/// What the documentation says about one key.
struct KeyEntry {
  std::string path;           ///< "adapter.decompose.axis"; "export[].for" in a list
  std::string type;           ///< "whole number", "text", "map", …
  std::string default_value;  ///< canonical text; empty: required
  std::string allowed;        ///< range or words; empty: any
  std::string meaning;
};
[[nodiscard]] std::vector<KeyEntry> list_keys(const std::function<void(Visitor&)>& describe);

/// One markdown table for each group of `entries`.
[[nodiscard]] std::string reference_markdown(const std::vector<KeyEntry>& entries);

}  // namespace dormer::config
