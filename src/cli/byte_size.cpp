#include "byte_size.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace dormer::cli {
namespace {

constexpr std::array<std::string_view, 4> kBinary{"KiB", "MiB", "GiB", "TiB"};
constexpr std::array<std::pair<std::string_view, double>, 12> kUnits{{{"", 1.0},
                                                                      {"B", 1.0},
                                                                      {"K", 1024.0},
                                                                      {"KiB", 1024.0},
                                                                      {"KB", 1e3},
                                                                      {"M", 1024.0 * 1024.0},
                                                                      {"MiB", 1024.0 * 1024.0},
                                                                      {"MB", 1e6},
                                                                      {"G", 1024.0 * 1024.0 * 1024.0},
                                                                      {"GiB", 1024.0 * 1024.0 * 1024.0},
                                                                      {"GB", 1e9},
                                                                      {"TiB", 1024.0 * 1024.0 * 1024.0 * 1024.0}}};

}  // namespace

std::string byte_text(std::int64_t bytes) {
  if (bytes < 1024) {
    return fmt::format("{} B", bytes);
  }
  double amount = static_cast<double>(bytes) / 1024.0;
  std::size_t unit = 0;
  while (amount >= 1024.0 && unit + 1 < kBinary.size()) {
    amount /= 1024.0;
    ++unit;
  }
  return fmt::format("{:.1f} {}", amount, kBinary[unit]);
}

std::optional<std::int64_t> parse_bytes(std::string_view text) {
  double amount = 0.0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), amount);
  if (code != std::errc{} || !std::isfinite(amount)) {
    return std::nullopt;
  }
  std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  unit.remove_prefix(std::min(unit.find_first_not_of(' '), unit.size()));
  for (const auto& [name, factor] : kUnits) {
    if (unit == name && amount * factor >= 1.0 && amount * factor < 0x1p62) {
      return static_cast<std::int64_t>(amount * factor);
    }
  }
  return std::nullopt;
}

}  // namespace dormer::cli
