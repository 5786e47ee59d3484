#include <algorithm>
#include <map>

#include "dormer/core/error.hpp"
#include "dormer/sweep/space.hpp"

namespace dormer::sweep {
namespace {

constexpr std::int64_t kMostPoints = std::int64_t{1} << 62;

std::int64_t product(std::int64_t one, std::int64_t other) {
  return one != 0 && other > kMostPoints / one ? kMostPoints : one * other;
}

}  // namespace

Space::Axis Space::axis_of(const Parameter& parameter) const {
  std::vector<const Condition*> conditions;
  for (const Entry& entry : entries_) {
    for (const Condition& condition :
         std::visit([](const auto& each) -> const std::vector<Condition>& { return each.when; }, entry)) {
      conditions.push_back(&condition);
    }
  }
  Axis axis{.values = parameter.grid(), .class_of = {}, .example = {}, .members = {}};
  std::map<std::vector<bool>, std::size_t> classes;
  for (const double value : axis.values) {
    const Point settings = parameter.settings(value);
    std::vector<bool> holds;
    for (const Condition* condition : conditions) {
      holds.push_back(condition->holds(settings));
    }
    const std::size_t index = classes.emplace(std::move(holds), classes.size()).first->second;
    if (index == axis.example.size()) {
      axis.example.push_back(value);
      axis.members.push_back(0);
    }
    ++axis.members[index];
    axis.class_of.push_back(index);
  }
  return axis;
}

std::int64_t Space::points_with(std::size_t position, double coordinate, Point& known) const {
  const std::size_t before = known.size();
  append_settings(order_[position], coordinate, known);
  const std::int64_t points = points_from(position + 1, known);
  known.resize(before);
  return points;
}

std::int64_t Space::points_from(std::size_t position, Point& known) const {
  if (position == order_.size()) {
    return 1;
  }
  const std::size_t entry = order_[position];
  if (!present(entry, known)) {
    return points_from(position + 1, known);
  }
  if (parameter_of(entry) == nullptr) {
    return points_with(position, 0.0, known);
  }
  const Axis& axis = axes_[parameter_index_[entry]];
  std::int64_t total = 0;
  for (std::size_t index = 0; index < axis.example.size(); ++index) {
    const std::int64_t points = product(axis.members[index], points_with(position, axis.example[index], known));
    total += std::min(points, kMostPoints - total);
  }
  return total;
}

std::optional<std::int64_t> Space::grid_points() const {
  if (std::ranges::any_of(axes_, [](const Axis& axis) { return axis.values.empty(); })) {
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
    double coordinate = 0.0;
    if (parameter_of(entry) != nullptr) {
      const Axis& axis = axes_[parameter_index_[entry]];
      std::vector<std::int64_t> below;  // points on a value of each class
      for (const double example : axis.example) {
        below.push_back(points_with(position, example, known));
      }
      std::size_t index = 0;
      for (; number >= below[axis.class_of[index]]; ++index) {
        number -= below[axis.class_of[index]];
      }
      coordinate = axis.values[index];
      coordinates[parameter_index_[entry]] = coordinate;
    }
    append_settings(entry, coordinate, known);
  }
  return at(coordinates);
}

}  // namespace dormer::sweep
