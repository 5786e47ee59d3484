#include "report/plot.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace dormer::report {
namespace {

constexpr std::size_t kColours = 8;  // of the page's style

}  // namespace

bool Plot::empty() const {
  return std::ranges::all_of(series, [](const Series& one) { return one.x.empty(); });
}

std::string colour_of(const Series& series, std::size_t index) {
  return series.colour.empty() ? fmt::format("c{}", index % kColours) : series.colour;
}

Series thinned(const Series& line, std::size_t most) {
  if (line.x.size() <= most || !line.is_line()) {
    return line;
  }
  Series result = line;
  result.x.clear();
  result.y.clear();
  const auto keep = [&](std::size_t index) {
    result.x.push_back(line.x[index]);
    result.y.push_back(line.y[index]);
  };
  keep(0);
  const std::size_t inner = line.x.size() - 2;  // between the ends
  const std::size_t stretches = std::max<std::size_t>(1, most / 2 - 1);
  for (std::size_t stretch = 0; stretch < stretches; ++stretch) {
    const auto first = line.y.begin() + static_cast<std::ptrdiff_t>(1 + stretch * inner / stretches);
    const auto last = line.y.begin() + static_cast<std::ptrdiff_t>(1 + (stretch + 1) * inner / stretches);
    if (first == last) {
      continue;
    }
    const auto [smallest, largest] = std::minmax_element(first, last);
    const auto low = static_cast<std::size_t>(smallest - line.y.begin());
    const auto high = static_cast<std::size_t>(largest - line.y.begin());
    keep(std::min(low, high));
    if (low != high) {
      keep(std::max(low, high));
    }
  }
  keep(line.x.size() - 1);
  return result;
}

}  // namespace dormer::report
