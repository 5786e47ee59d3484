#include "migration/foreign_file.hpp"

#include <charconv>
#include <cmath>
#include <sstream>
#include <string>
#include <string_view>

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

Json from_toml(const std::string& text, const std::filesystem::path& file) {
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
