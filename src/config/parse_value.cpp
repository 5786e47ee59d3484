#include "config/parse_value.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/ranges.h>

#include "config/range_text.hpp"
#include "dormer/core/nearest_name.hpp"

namespace dormer::config {
namespace {

constexpr std::size_t kShownCharacters = 60;

bool is_plain_scalar(const Node& node) {
  return node.kind == Node::Kind::kScalar && !node.quoted;
}

std::string_view without_plus(std::string_view text) {
  return text.size() > 1 && text.front() == '+' && text[1] != '-' && text[1] != '+' ? text.substr(1) : text;
}

Problem check_range(double value, const std::string& text, const Field& field) {
  if (in_range(value, field)) {
    return std::nullopt;
  }
  return fmt::format("must be {}, is {}", range_text(field), text);
}

Problem check_choice(const std::string& value, const Field& field) {
  if (field.choices.empty() || std::ranges::find(field.choices, value) != field.choices.end()) {
    return std::nullopt;
  }
  return fmt::format("{} is not one of {}{}", shown(value), fmt::join(field.choices, ", "),
                     did_you_mean(value, field.choices));
}

/// For the types that parse themselves.
template <typename T>
Problem parse_text(const Node& node, T& value, std::string_view form) {
  const bool readable = node.kind == Node::Kind::kScalar || node.kind == Node::Kind::kNull;
  const std::optional<T> parsed = readable ? T::parse(node.text) : std::nullopt;
  if (!parsed) {
    return fmt::format("{} is not {}", shown(node), form);
  }
  value = *parsed;
  return std::nullopt;
}

template <typename T>
Problem parse_list(const Node& node, std::vector<T>& value, const Field& field) {
  std::vector<T> parsed;
  const bool single = node.kind != Node::Kind::kSequence;
  for (std::size_t i = 0; i < (single ? 1 : node.items.size()); ++i) {
    T item{};
    if (const Problem problem = parse_value(single ? node : node.items[i], item, field)) {
      return single ? problem : fmt::format("item {}: {}", i, *problem);
    }
    parsed.push_back(std::move(item));
  }
  value = std::move(parsed);
  return std::nullopt;
}

}  // namespace

std::string shown(std::string_view text) {
  std::string result = "'";
  for (const char c : text.substr(0, kShownCharacters)) {
    result += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  while (text.size() > kShownCharacters && (static_cast<unsigned char>(text[result.size() - 1]) & 0xC0) == 0x80 &&
         result.size() > 1) {  // do not cut a character of several bytes
    result.pop_back();
  }
  return result + (text.size() > kShownCharacters ? "…'" : "'");
}

std::string shown(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull:
      return "null";
    case Node::Kind::kScalar:
      return node.quoted ? fmt::format("the text {}", shown(node.text)) : shown(node.text);
    case Node::Kind::kSequence:
      return "a list";
    case Node::Kind::kMap:
      return "a map";
  }
  return "";
}

Problem parse_value(const Node& node, bool& value, const Field&) {
  if (is_plain_scalar(node) && (node.text == "true" || node.text == "True" || node.text == "TRUE")) {
    value = true;
  } else if (is_plain_scalar(node) && (node.text == "false" || node.text == "False" || node.text == "FALSE")) {
    value = false;
  } else {
    return fmt::format("{} is not true or false", shown(node));
  }
  return std::nullopt;
}

Problem parse_value(const Node& node, std::int64_t& value, const Field& field) {
  const std::string_view text = without_plus(node.text);
  std::int64_t parsed = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), parsed);
  if (is_plain_scalar(node) && error == std::errc::result_out_of_range) {
    return fmt::format("{} is too large for a whole number of 64 bits", shown(node));
  }
  if (!is_plain_scalar(node) || error != std::errc{} || end != text.data() + text.size()) {
    return fmt::format("{} is not a whole number", shown(node));
  }
  Problem problem = check_range(static_cast<double>(parsed), node.text, field);
  if (!problem) {
    value = parsed;
  }
  return problem;
}

Problem parse_value(const Node& node, double& value, const Field& field) {
  const std::string_view text = without_plus(node.text);
  double parsed = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), parsed);
  if (is_plain_scalar(node) && error == std::errc::result_out_of_range) {
    return fmt::format("{} cannot be represented as a number of 64 bits", shown(node));
  }
  const bool special =
      is_plain_scalar(node) && (text == ".inf" || text == "-.inf" || text == ".nan" || text == ".NaN" ||
                                text == ".Inf" || text == "-.Inf" || text == ".NAN" || text == ".INF");
  if (special || (is_plain_scalar(node) && error == std::errc{} && !std::isfinite(parsed))) {
    return fmt::format("{} is not a finite number", shown(node));
  }
  if (!is_plain_scalar(node) || error != std::errc{} || end != text.data() + text.size()) {
    return fmt::format("{} is not a number", shown(node));
  }
  Problem problem = check_range(parsed, node.text, field);
  if (!problem) {
    value = parsed;
  }
  return problem;
}

Problem parse_value(const Node& node, std::string& value, const Field& field) {
  if (node.kind != Node::Kind::kScalar) {
    return fmt::format("{} is not a text", shown(node));
  }
  Problem problem = check_choice(node.text, field);
  if (!problem) {
    value = node.text;
  }
  return problem;
}

Problem parse_value(const Node& node, std::filesystem::path& value, const Field& field) {
  if (node.kind == Node::Kind::kNull && !field.required) {
    value.clear();
    return std::nullopt;
  }
  if (node.kind != Node::Kind::kScalar || node.text.empty() || node.text.find('\0') != std::string::npos) {
    return fmt::format("{} is not a path", shown(node));
  }
  value = node.text;
  return std::nullopt;
}

Problem parse_value(const Node& node, std::vector<std::string>& value, const Field& field) {
  return parse_list(node, value, field);
}

Problem parse_value(const Node& node, std::vector<double>& value, const Field& field) {
  return parse_list(node, value, field);
}

Problem parse_value(const Node& node, Cadence& value, const Field&) {
  return parse_text(node, value, "a cadence: write 20 (updates), 1 epoch, 15 min (s, min, h), or null for never");
}

Problem parse_value(const Node& node, StepsOrShare& value, const Field&) {
  return parse_text(node, value, "a number of updates (5) or a share of the run (3%)");
}

Problem parse_value(const Node& node, Duration& value, const Field&) {
  return parse_text(node, value, "a time: write 90 s, 15 min, 2 h, auto or null");
}

Problem parse_value(const Node& node, Expression& value, const Field&) {
  if (node.kind != Node::Kind::kScalar && node.kind != Node::Kind::kNull) {
    return fmt::format("{} is not a number or an expression such as 2*rank", shown(node));
  }
  value.text = node.kind == Node::Kind::kNull ? "" : node.text;
  return std::nullopt;
}

}  // namespace dormer::config
