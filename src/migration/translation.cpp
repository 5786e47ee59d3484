#include "migration/translation.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <stdexcept>

#include <fmt/format.h>

namespace dormer::migration {
namespace {

constexpr std::array<const char*, 15> kGroups{"run",        "model",     "adapter",    "data",     "text",
                                              "batch",      "objective", "optimizer",  "schedule", "parallel",
                                              "validation", "samples",   "checkpoint", "export",   "sweep"};
constexpr std::size_t kShown = 60;  // characters of a value in a message

std::string shown(const Json& value) {
  std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  if (text.size() > kShown) {
    std::size_t end = kShown;
    while ((static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) {  // not within a letter
      --end;
    }
    text.resize(end);
    text += "…";
  }
  return text;
}

std::optional<double> number_in(std::string_view text) {
  double number = 0.0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = code == std::errc{} && end == text.data() + text.size() && !text.empty();
  return whole && std::isfinite(number) ? std::optional(number) : std::nullopt;
}

/// Values that ask for nothing.
bool is_off(const Json& value) {
  if (value.is_string()) {
    const std::string text = value;
    return text.empty() || text == "NONE" || text == "NEVER" || text == "OFF" || text == "none" || text == "no";
  }
  return value.is_null() || value == false || (value.is_number() && value == 0) ||
         (value.is_structured() && value.empty());
}

/// Json's own text of a number has as many digits as read back to it.
std::string flow(const Json& value) {
  if (value.is_array()) {
    std::string text;
    for (const Json& item : value) {
      text += (text.empty() ? "" : ", ") + flow(item);
    }
    return "[" + text + "]";
  }
  if (value.is_object()) {
    std::string text;
    for (const auto& [key, item] : value.items()) {
      text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", key, flow(item));
    }
    return "{" + text + "}";
  }
  if (value.is_string()) {
    const std::string text = value;
    const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    const bool amount =
        is_digit(text.empty() ? ' ' : text[0]) && (text.ends_with('%') || text.find(' ') != std::string::npos);
    const bool plain = !text.empty() && (is_letter(text[0]) || text[0] == '/' || text.starts_with("./") || amount) &&
                       std::ranges::all_of(text, [&](char c) {
                         return is_letter(c) || is_digit(c) || c == '-' || c == '/' || c == '.' || c == ' ' || c == '%';
                       });
    const bool word = text == "true" || text == "false" || text == "null" || text == "yes" || text == "no" ||
                      text == "on" || text == "off" || text.ends_with(' ');
    return plain && !word ? text : value.dump();
  }
  return value.dump();
}

}  // namespace

Translation::Translation(Json foreign, std::filesystem::path file)
    : foreign_(std::move(foreign)), file_(std::move(file)) {}

const Json* Translation::find(std::string_view path) const {
  const Json* value = &foreign_;
  while (true) {
    if (!value->is_object()) {
      return nullptr;
    }
    const std::size_t dot = path.find('.');
    const auto found = value->find(std::string(path.substr(0, dot)));
    if (found == value->end()) {
      return nullptr;
    }
    value = &*found;
    if (dot == std::string_view::npos) {
      return value;
    }
    path.remove_prefix(dot + 1);
  }
}

const Json* Translation::take(std::string_view path) {
  taken_.emplace(path);
  latest_ = path;
  const Json* value = find(path);
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::optional<double> Translation::number(std::string_view path) {
  const Json* value = take(path);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (value->is_number()) {
    return value->get<double>();
  }
  const std::optional<double> number = value->is_string() ? number_in(value->get<std::string>()) : std::nullopt;
  if (!number) {
    told_.push_back(fmt::format("{}: {}: is no number", path, shown(*value)));
  }
  return number;
}

std::optional<std::string> Translation::text(std::string_view path) {
  const Json* value = take(path);
  if (value == nullptr) {
    return std::nullopt;
  }
  return value->is_string() ? value->get<std::string>() : value->dump();
}

bool Translation::truth(std::string_view path, bool otherwise) {
  const Json* value = take(path);
  if (value == nullptr) {
    return otherwise;
  }
  if (value->is_string()) {
    const std::string text = *value;
    return text == "true" || text == "True" || text == "1" || text == "ON" || text == "yes";
  }
  return value->is_boolean() ? value->get<bool>() : value->is_number() && value->get<double>() != 0.0;
}

void Translation::set(std::string_view key, Json value, std::string remark) {
  if (value.is_number_float() && std::abs(value.get<double>()) < 1e15 &&
      value.get<double>() == std::floor(value.get<double>())) {
    value = static_cast<std::int64_t>(value.get<double>());
  }
  Json* place = &ours_;
  for (std::string_view rest = key;;) {
    const std::size_t dot = rest.find('.');
    place = &(*place)[std::string(rest.substr(0, dot))];
    if (dot == std::string_view::npos) {
      break;
    }
    rest.remove_prefix(dot + 1);
  }
  *place = std::move(value);
  if (!remark.empty()) {
    remarks_.emplace_back(key.substr(0, key.find('.', key.find('.') + 1)), std::move(remark));
  }
}

void Translation::copy(std::string_view path, std::string_view key) {
  if (const Json* value = take(path)) {
    const std::optional<double> number = value->is_string() ? number_in(value->get<std::string>()) : std::nullopt;
    set(key, number ? Json(*number) : *value);
  }
}

void Translation::choose(std::string_view path, std::string_view key,
                         std::initializer_list<std::pair<std::string_view, const char*>> words) {
  const std::optional<std::string> value = text(path);
  if (!value) {
    return;
  }
  for (const auto& [theirs, ours] : words) {
    if (theirs == *value) {
      set(key, ours);
      return;
    }
  }
  told_.push_back(fmt::format("{}: {}: has no counterpart; {} keeps its default", path, *value, key));
}

void Translation::lacks(std::string_view path, std::string_view why) {
  const Json* value = take(path);
  if (value != nullptr && !is_off(*value)) {
    told_.push_back(fmt::format("{}: {}: {}", path, shown(*value), why));
  }
}

void Translation::ignore(std::initializer_list<std::string_view> paths) {
  taken_.insert(paths.begin(), paths.end());
}

void Translation::tell(std::string text) {
  told_.push_back(std::move(text));
}

std::filesystem::path Translation::beside(const std::string& named) const {
  const std::filesystem::path there = file_.parent_path() / named;
  std::error_code ignored;
  return std::filesystem::exists(there, ignored) ? there : std::filesystem::path(named);
}

void Translation::collect_rest(const Json& value, const std::string& path, std::vector<std::string>& rest) const {
  if (taken_.contains(path) || is_off(value)) {
    return;
  }
  if (!value.is_object()) {
    rest.push_back(fmt::format("{}: {}: is not known to this import", path, shown(value)));
    return;
  }
  for (const auto& [key, item] : value.items()) {
    collect_rest(item, path.empty() ? key : path + "." + key, rest);
  }
}

std::vector<std::string> Translation::unmapped() const {
  std::vector<std::string> all = told_;
  collect_rest(foreign_, {}, all);
  return all;
}

std::string Translation::yaml() const {
  std::string text;
  for (const char* const group : kGroups) {
    if (!ours_.contains(group)) {
      continue;
    }
    const Json& keys = ours_.at(group);
    if (keys.is_array()) {
      text += fmt::format("{}: {}\n", group, flow(keys));
      continue;
    }
    text += fmt::format("{}:\n", group);
    for (const auto& [key, value] : keys.items()) {
      std::string line = fmt::format("  {}: ", key);
      if (value.is_array() && !value.empty() && value.front().is_object()) {
        line.pop_back();
        for (const Json& item : value) {
          line += "\n    - " + flow(item);
        }
      } else {
        line += flow(value);
      }
      for (const auto& [place, remark] : remarks_) {
        line += place == fmt::format("{}.{}", group, key) ? fmt::format("  # {}", remark) : "";
      }
      text += line + "\n";
    }
  }
  return text;
}

double number_of(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  text = text.substr(0, text.find_last_not_of(' ') + 1);
  const std::optional<double> number = number_in(text);
  if (!number) {
    throw std::invalid_argument(std::string(text));
  }
  return *number;
}

std::vector<std::string> comma_parts(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    std::string_view part = text.substr(0, text.find(','));
    text.remove_prefix(std::min(part.size() + 1, text.size()));
    part.remove_prefix(std::min(part.find_first_not_of(' '), part.size()));
    if (!part.empty()) {
      parts.emplace_back(part);
    }
  }
  return parts;
}

Json cadence(double amount, std::string_view unit) {
  if (unit == "NEVER" || amount <= 0.0) {
    return nullptr;
  }
  if (unit == "STEP") {
    return amount;
  }
  if (unit == "ALWAYS") {
    return 1;
  }
  const auto in = [&](const char* ours) { return fmt::format("{} {}", amount, ours); };
  return unit == "EPOCH"    ? in(amount == 1.0 ? "epoch" : "epochs")
         : unit == "HOUR"   ? in("h")
         : unit == "SECOND" ? in("s")
                            : in("min");
}

}  // namespace dormer::migration
