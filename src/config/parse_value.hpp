#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "config/document.hpp"
#include "dormer/config/visitor.hpp"

namespace dormer::config {

/// What is wrong, or nothing.
using Problem = std::optional<std::string>;

// Turns a node into a value that `field` allows; on a problem the value is left as it was.
[[nodiscard]] Problem parse_value(const Node& node, bool& value, const Field& field);
[[nodiscard]] Problem parse_value(const Node& node, std::int64_t& value, const Field& field);
[[nodiscard]] Problem parse_value(const Node& node, double& value, const Field& field);
[[nodiscard]] Problem parse_value(const Node& node, std::string& value, const Field& field);
[[nodiscard]] Problem parse_value(const Node& node, std::filesystem::path& value, const Field& field);
[[nodiscard]] Problem parse_value(const Node& node, std::vector<std::string>& value, const Field& field);
[[nodiscard]] Problem parse_value(const Node& node, std::vector<double>& value, const Field& field);
[[nodiscard]] Problem parse_value(const Node& node, Cadence& value, const Field& field);
[[nodiscard]] Problem parse_value(const Node& node, StepsOrShare& value, const Field& field);
[[nodiscard]] Problem parse_value(const Node& node, Expression& value, const Field& field);
[[nodiscard]] Problem parse_value(const Node& node, Duration& value, const Field& field);

template <typename T>
[[nodiscard]] Problem parse_value(const Node& node, std::optional<T>& value, const Field& field) {
  if (node.kind == Node::Kind::kNull) {
    value.reset();
    return std::nullopt;
  }
  T parsed{};
  Problem problem = parse_value(node, parsed, field);
  if (!problem) {
    value = std::move(parsed);
  }
  return problem;
}

/// "'text'", shortened, control characters replaced: fit for one line of a message.
[[nodiscard]] std::string shown(std::string_view text);

}  // namespace dormer::config
