#include <algorithm>

#include "dormer/core/error.hpp"
#include "dormer/sweep/space.hpp"

namespace dormer::sweep {
namespace {

constexpr std::int64_t kMostPoints = std::int64_t{1} << 62;

std::int64_t product(std::int64_t one, std::int64_t other) {
  return one != 0 && other > kMostPoints / one ? kMostPoints : one * other;
}

}  // namespace

std::int64_t Space::points_from(std::size_t position, Point& known) const {
  if (position == order_.size()) {
    return 1;
  }
  const std::size_t entry = order_[position];
  if (!present(entry, known)) {
    return points_from(position + 1, known);
  }
  const Parameter* parameter = parameter_of(entry);
  if (!looked_at_[entry]) {  // what follows is the same whatever its value
    const auto values = parameter == nullptr ? 1 : static_cast<std::int64_t>(parameter->grid().size());
    return product(values, points_from(position + 1, known));
  }
  std::int64_t total = 0;
  const std::size_t before = known.size();
  for (const double coordinate : parameter == nullptr ? std::vector{0.0} : parameter->grid()) {
    append_settings(entry, coordinate, known);
    total += std::min(points_from(position + 1, known), kMostPoints - total);
    known.resize(before);
  }
  return total;
}

std::optional<std::int64_t> Space::grid_points() const {
  if (std::ranges::any_of(parameters_, [](const Parameter& parameter) { return parameter.grid().empty(); })) {
    return std::nullopt;
  }
  Point known;
  return points_from(0, known);
}

Point Space::grid_point(std::int64_t number) const {
  const std::optional<std::int64_t> count = grid_points();
  invariant(count && number >= 0 && number < *count, "point {} of a grid of {}", number, count.value_or(0));
  std::vector<double> coordinates(parameters_.size(), 0.0);
  Point known;
  for (std::size_t position = 0; position < order_.size(); ++position) {
    const std::size_t entry = order_[position];
    if (!present(entry, known)) {
      continue;
    }
    const Parameter* parameter = parameter_of(entry);
    const std::size_t before = known.size();
    for (const double coordinate : parameter == nullptr ? std::vector{0.0} : parameter->grid()) {
      append_settings(entry, coordinate, known);
      const std::int64_t below = parameter == nullptr ? number + 1 : points_from(position + 1, known);
      if (number < below) {
        if (parameter != nullptr) {
          coordinates[parameter_index_[entry]] = coordinate;
        }
        break;
      }
      number -= below;
      known.resize(before);
    }
  }
  return at(coordinates);
}

}  // namespace dormer::sweep
