#include "config/scalar_text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace dormer::config {
namespace {

bool is_plain_character(char c) {
  constexpr std::string_view kSafe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./%()+-";
  return kSafe.find(c) != std::string_view::npos;
}

bool means_something_else(std::string_view text) {
  constexpr std::array<std::string_view, 9> kWords{"null", "true", "false", "yes", "no", "on", "off", "y", "n"};
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return std::ranges::find(kWords, lower) != kWords.end();
}

bool starts_plainly(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '/';
}

/// "a, b" in brackets.
template <typename T>
std::string list_text(const std::vector<T>& values) {
  std::string result = "[";
  for (const T& value : values) {
    result += (result.size() > 1 ? ", " : "") + scalar_text(value);
  }
  return result + "]";
}

}  // namespace

std::string number_text(double value, NumberStyle style) {
  std::string text = fmt::format("{}", value);
  if (style == NumberStyle::kPlain) {
    return text;
  }
  if (text.find('.') == std::string::npos) {
    text.insert(std::min(text.find('e'), text.size()), ".0");
  }
  return text;
}

std::string quoted_where_needed(std::string_view text) {
  const bool plain = !text.empty() && starts_plainly(text.front()) && std::ranges::all_of(text, is_plain_character) &&
                     !means_something_else(text);
  if (plain) {
    return std::string(text);
  }
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += fmt::format("\\{}", c);
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      result += fmt::format("\\x{:02x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    } else {
      result += c;
    }
  }
  return result + "\"";
}

std::string scalar_text(bool value) {
  return value ? "true" : "false";
}
std::string scalar_text(std::int64_t value) {
  return fmt::format("{}", value);
}
std::string scalar_text(double value) {
  return number_text(value, NumberStyle::kYaml);
}
std::string scalar_text(const std::string& value) {
  return quoted_where_needed(value);
}
std::string scalar_text(const std::filesystem::path& value) {
  return value.empty() ? "null" : quoted_where_needed(value.string());
}
std::string scalar_text(const std::vector<std::string>& values) {
  return list_text(values);
}
std::string scalar_text(const std::vector<double>& values) {
  return list_text(values);
}
std::string scalar_text(const Cadence& value) {
  return value.text();
}
std::string scalar_text(const StepsOrShare& value) {
  return value.text();
}
std::string scalar_text(const Duration& value) {
  return value.text();
}

std::string scalar_text(const Expression& value) {
  if (value.absent()) {
    return "null";
  }
  double number = 0.0;
  const char* end = value.text.data() + value.text.size();
  const auto parsed = std::from_chars(value.text.data(), end, number);
  if (parsed.ec == std::errc{} && parsed.ptr == end && std::isfinite(number)) {
    return number_text(number, NumberStyle::kPlain);  // 32 and 32.0 are one value
  }
  std::string compact = value.text;
  std::erase(compact, ' ');
  return compact;
}

}  // namespace dormer::config
