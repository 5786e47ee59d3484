#include "dormer/data/normal_numbers.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <utility>

namespace dormer::data {
namespace {

/// Uniform in (0, 1), of 32 bits.
double open_uniform(std::uint32_t word) {
  return (static_cast<double>(word) + 0.5) * 0x1p-32;
}

std::pair<double, double> normal_pair(std::uint32_t first, std::uint32_t second) {
  const double radius = std::sqrt(-2.0 * std::log(open_uniform(first)));
  const double angle = 2.0 * std::numbers::pi * open_uniform(second);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

}  // namespace

void draw_normal_numbers(RandomKey key, std::span<float> values) {
  for (std::size_t first = 0; first < values.size(); first += 4) {
    const auto words = philox(key, first / 4);
    const auto [a, b] = normal_pair(words[0], words[1]);
    const auto [c, d] = normal_pair(words[2], words[3]);
    const std::array<double, 4> four{a, b, c, d};
    for (std::size_t index = first; index < std::min(first + 4, values.size()); ++index) {
      values[index] = static_cast<float>(four[index - first]);
    }
  }
}

double normal_number(RandomKey key) {
  const auto words = philox(key, 0);
  return normal_pair(words[0], words[1]).first;
}

}  // namespace dormer::data
