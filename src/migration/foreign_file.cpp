#include "migration/foreign_file.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>
#include <string>
#include <string_view>

#define TOML_MAX_NESTED_VALUES 32
#include <toml++/toml.h>

#include "dormer/config/tree.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/json_extent.hpp"

namespace dormer::migration {
namespace {

constexpr std::size_t kDeepest = kDeepestJson / 2;  // ours puts values some levels deeper, and has the same limit

// YAML 1.1's words, as far as programs of this field write them.
Json scalar(const config::Node& node) {
  const std::string& text = node.text;
  if (node.quoted) {
    return text;
  }
  if (text == "true" || text == "True" || text == "yes" || text == "on") {
    return true;
  }
  if (text == "false" || text == "False" || text == "no" || text == "off") {
    return false;
  }
  const char* const end = text.data() + text.size();
  std::int64_t whole = 0;
  if (const auto [rest, code] = std::from_chars(text.data(), end, whole); code == std::errc{} && rest == end) {
    return whole;
  }
  double number = 0.0;
  if (const auto [rest, code] = std::from_chars(text.data(), end, number);
      code == std::errc{} && rest == end && std::isfinite(number)) {
    return number;
  }
  return text;
}

Json to_json(const config::Node& node) {
  switch (node.kind) {
    case config::Node::Kind::kScalar:
      return scalar(node);
    case config::Node::Kind::kSequence: {
      Json list = Json::array();
      for (const config::Node& item : node.items) {
        list.push_back(to_json(item));
      }
      return list;
    }
    case config::Node::Kind::kMap: {
      Json map = Json::object();
      for (const config::Member& member : node.members) {
        map[member.key] = to_json(member.value);
      }
      return map;
    }
    default:
      return nullptr;
  }
}

Json from_yaml(const std::filesystem::path& file) {
  try {
    return to_json(config::Document::parse(config::Source::from_file(file)).root);
  } catch (const Error& error) {  // ours would be bad usage; theirs is an input
    throw Error(error.fault() == Fault::kUsage ? Fault::kInput : error.fault(), error.what());
  }
}

/// The most names that dots join to one key ("a.b.c" has 3). What stands in strings does not count.
std::size_t longest_key(std::string_view toml) {
  std::size_t longest = 0;
  std::size_t names = 1;
  for (std::size_t i = 0; i < toml.size(); ++i) {
    const char one = toml[i];
    if (one == '"' || one == '\'') {
      const std::string fence(toml.substr(i, 3) == std::string(3, one) ? 3 : 1, one);
      std::size_t end = i + fence.size();
      while (end < toml.size() && toml.substr(end, fence.size()) != fence && (fence.size() == 3 || toml[end] != '\n')) {
        end += one == '"' && toml[end] == '\\' ? 2 : 1;
      }
      i = end + fence.size() - 1;
    } else if (one == '#') {
      i = std::min(toml.find('\n', i), toml.size());
      names = 1;
    } else if (one == '.') {
      longest = std::max(longest, ++names);
    } else if (one == '\n' || std::string_view("=,[]{}").find(one) != std::string_view::npos) {
      names = 1;
    }
  }
  return longest;
}

Json from_toml(const std::string& text, const std::filesystem::path& file) {
  // The parser calls itself for every name of a key, as deep as the stack goes.
  require(longest_key(text) <= kDeepest, Fault::kInput,
          "{} has a key of more than {} names; no program writes such settings", file.string(), kDeepest);
  try {
    const toml::table table = toml::parse(text, file.string());
    std::ostringstream json;
    json << toml::json_formatter(table);
    require_shallow_json(json.str(), file.string());
    return Json::parse(json.str());
  } catch (const toml::parse_error& error) {
    fail(Fault::kInput, "{}:{}: not TOML: {}", file.string(), error.source().begin.line, error.description());
  }
}

}  // namespace

Json read_foreign_file(const std::filesystem::path& file) {
  const std::string text = read_file(file, "configuration");
  const std::string end = file.extension();
  Json settings;
  if (end == ".toml") {
    settings = from_toml(text, file);
  } else if (end == ".yaml" || end == ".yml") {
    settings = from_yaml(file);
  } else {
    require_shallow_json(text, file.string());
    try {
      settings = Json::parse(text);
    } catch (const Json::exception& error) {
      fail(Fault::kInput, "{}: not JSON: {}", file.string(), error.what());
    }
  }
  require(extent_of_json(settings.dump(-1, ' ', false, Json::error_handler_t::replace)).depth <= kDeepest,
          Fault::kInput, "{} nests deeper than {} levels; no program writes such settings", file.string(), kDeepest);
  require(settings.is_structured(), Fault::kInput, "{}: holds no settings", file.string());
  return settings;
}

}  // namespace dormer::migration
