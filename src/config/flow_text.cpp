#include <algorithm>

#include <fmt/ranges.h>

#include "config/scalar_text.hpp"
#include "dormer/config/tree.hpp"

namespace dormer::config {
namespace {

/// Whether a text without quotes is one scalar for every YAML parser, inside of brackets too.
bool stands_alone(std::string_view text) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./";
  constexpr std::string_view kInside = "%()+-* ";
  if (text.empty() || text.back() == ' ') {
    return false;
  }
  const auto among = [](std::string_view set, char c) { return set.find(c) != std::string_view::npos; };
  const bool sign = text.size() > 1 && (text.front() == '-' || text.front() == '+') && among(kLetters, text[1]);
  return (sign || among(kLetters, text.front())) &&
         std::ranges::all_of(text, [&](char c) { return among(kLetters, c) || among(kInside, c); });
}

std::string in_quotes(std::string_view text) {
  const std::string quoted = quoted_where_needed(text);
  return quoted.starts_with('"') ? quoted : "\"" + quoted + "\"";
}

}  // namespace

std::string flow_text(const Node& node) {
  std::vector<std::string> parts;
  switch (node.kind) {
    case Node::Kind::kNull:
      return "null";
    case Node::Kind::kScalar:
      return !node.quoted && stands_alone(node.text) ? node.text : in_quotes(node.text);
    case Node::Kind::kSequence:
      for (const Node& item : node.items) {
        parts.push_back(flow_text(item));
      }
      return fmt::format("[{}]", fmt::join(parts, ", "));
    case Node::Kind::kMap:
      for (const Member& member : node.members) {
        parts.push_back(fmt::format("{}: {}", stands_alone(member.key) ? member.key : in_quotes(member.key),
                                    flow_text(member.value)));
      }
      return fmt::format("{{{}}}", fmt::join(parts, ", "));
  }
  return "";
}

}  // namespace dormer::config
