#include "dormer/report/wording.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>

#include <fmt/format.h>

namespace dormer::report {
namespace {

/// The last `parts` parts of `path`.
std::string last_parts(const std::string& path, std::size_t parts) {
  std::size_t from = path.size();
  for (; parts > 0 && from != 0 && from != std::string::npos; --parts) {
    from = path.rfind('.', from - 1);
  }
  return from == std::string::npos || from == 0 ? path : path.substr(from + 1);
}

}  // namespace

std::vector<std::string> short_names(std::span<const std::string> paths) {
  std::vector<std::string> names;
  for (const std::string& path : paths) {
    std::string name;
    for (std::size_t parts = 1; name != path; ++parts) {
      name = last_parts(path, parts);
      const auto same = [&](const std::string& other) { return other != path && last_parts(other, parts) == name; };
      if (std::ranges::none_of(paths, same)) {
        break;
      }
    }
    names.push_back(name);
  }
  return names;
}

std::string duration_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::max(0.0, std::round(seconds)));
  if (seconds > 0.0 && seconds < 9.95) {
    return fmt::format("{:.1f} s", seconds);
  }
  if (whole < 60) {
    return fmt::format("{} s", whole);
  }
  if (whole < 3'600) {
    return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  }
  const std::int64_t minutes = whole / 60;
  if (minutes < 24 * 60) {
    return fmt::format("{} h {:02} min", minutes / 60, minutes % 60);
  }
  return fmt::format("{} d {:02} h", minutes / (24 * 60), minutes / 60 % 24);
}

std::optional<double> number_of(const std::string& text) {
  const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
  const char* end = text.data() + text.size();
  double value = 0.0;
  const auto [stopped, error] = std::from_chars(begin, end, value);
  return error == std::errc() && stopped == end && std::isfinite(value) ? std::optional(value) : std::nullopt;
}

}  // namespace dormer::report
