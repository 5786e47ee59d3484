#include "dormer/sweep/importance.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numbers>

#include "dormer/report/wording.hpp"

namespace dormer::sweep {
namespace {

constexpr std::size_t kEnoughPoints = 10;
constexpr std::size_t kFewestBest = 5;
constexpr std::size_t kCells = 50;
constexpr double kScott = 1.059;
constexpr double kNormalQuartiles = 1.34;      // between them, of a normal distribution with sigma 1
constexpr double kSmallestSigma = 0.5 / 1.64;  // 90% of a kernel lie in its cell
constexpr double kUniformWeight = 1.0;         // observations

/// One parameter of the points that have it, best first, as the numbers of cells or choices.
struct Column {
  std::vector<std::size_t> cells;
  std::size_t count = 0;  ///< of cells there are
  bool smooth = false;    ///< neighbouring cells are near
};

bool counts(const Standing& standing) {
  const bool ended = standing.state == TrialState::kFailed || standing.state == TrialState::kStopped;
  return ended || (standing.by_value && standing.mean);
}

/// Nothing tells their places apart but their numbers.
bool tied(const Standing& left, const Standing& right) {
  return left.by_value == right.by_value && left.mean == right.mean && (left.by_value || left.rung == right.rung);
}

std::optional<double> position(const std::string& text, ParameterKind kind) {
  const std::optional<double> number = report::number_of(text);
  if (kind != ParameterKind::kLog || !number) {
    return number;
  }
  return *number > 0.0 ? std::optional(std::log(*number)) : std::nullopt;
}

/// Values numbered in their order.
template <typename Value>
Column by_value(const std::vector<Value>& values) {
  std::map<Value, std::size_t> numbers;
  for (const Value& value : values) {
    numbers.emplace(value, 0);
  }
  Column column{.cells = {}, .count = 0};
  for (auto& [value, number] : numbers) {
    number = column.count++;
  }
  for (const Value& value : values) {
    column.cells.push_back(numbers.at(value));
  }
  return column;
}

Column on_grid(const std::vector<double>& values) {
  const auto [low, high] = std::ranges::minmax(values);
  Column column{.cells = {}, .count = kCells, .smooth = true};
  for (const double value : values) {
    const double cell = std::round((value - low) / (high - low) * static_cast<double>(kCells - 1));
    column.cells.push_back(static_cast<std::size_t>(cell));
  }
  return column;
}

Column column_of(const std::vector<const Standing*>& points, const ParameterFacts& parameter) {
  std::vector<double> values;
  std::vector<std::string> texts;
  for (const Standing* point : points) {
    const std::string& text = *setting_of(point->settings, parameter.path);
    texts.push_back(text);
    if (parameter.kind != ParameterKind::kChoice) {
      values.push_back(position(text, parameter.kind).value());
    }
  }
  if (parameter.kind == ParameterKind::kChoice) {
    return by_value(texts);
  }
  Column steps = by_value(values);
  steps.smooth = true;
  return steps.count < 2 || (steps.count <= kCells && 2 * steps.count <= values.size()) ? steps : on_grid(values);
}

/// Scott's rule, in cells.
double bandwidth(std::vector<std::size_t> cells) {
  std::ranges::sort(cells);
  const auto count = static_cast<double>(cells.size());
  double mean = 0.0;
  for (const std::size_t cell : cells) {
    mean += static_cast<double>(cell) / count;
  }
  double squares = 0.0;
  for (const std::size_t cell : cells) {
    squares += (static_cast<double>(cell) - mean) * (static_cast<double>(cell) - mean);
  }
  const double sigma = std::sqrt(squares / std::max(1.0, count - 1.0));
  const auto between = static_cast<double>(cells[cells.size() * 3 / 4] - cells[cells.size() / 4]);
  return std::max(kSmallestSigma, kScott * std::min(between / kNormalQuartiles, sigma) * std::pow(count, -0.2));
}

double normal_below(double value) {
  return 0.5 * std::erfc(-value / std::numbers::sqrt2);
}

/// The density of the cells that the first `count` points lie in.
std::vector<double> density(const Column& column, std::size_t count) {
  const std::vector<std::size_t> cells(column.cells.begin(), column.cells.begin() + static_cast<std::ptrdiff_t>(count));
  const double all = static_cast<double>(count) + kUniformWeight;
  std::vector<double> result(column.count, kUniformWeight / static_cast<double>(column.count) / all);
  if (!column.smooth) {
    for (const std::size_t cell : cells) {
      result[cell] += 1.0 / all;
    }
    return result;
  }
  const double sigma = bandwidth(cells);
  for (const std::size_t centre : cells) {
    const auto edge = [&](std::size_t cell) {
      return normal_below((static_cast<double>(cell) - 0.5 - static_cast<double>(centre)) / sigma);
    };
    const double inside = edge(column.count) - edge(0);
    for (std::size_t cell = 0; cell < column.count; ++cell) {
      result[cell] += (edge(cell + 1) - edge(cell)) / inside / all;
    }
  }
  return result;
}

/// How many of the points, best first, are the best ones.
std::size_t best_of(const std::vector<const Standing*>& points) {
  std::size_t best = std::clamp((points.size() + 9) / 10, kFewestBest, points.size() / 2);
  while (best < points.size() && tied(*points[best - 1], *points[best])) {
    ++best;
  }
  return best;
}

Importance importance_of(std::span<const Standing> leaderboard, const ParameterFacts& parameter) {
  std::vector<const Standing*> points;
  for (const Standing& standing : leaderboard) {
    const std::string* text = setting_of(standing.settings, parameter.path);
    const bool has = text != nullptr && (parameter.kind == ParameterKind::kChoice || position(*text, parameter.kind));
    if (has && counts(standing)) {
      points.push_back(&standing);
    }
  }
  Importance result{.path = parameter.path, .points = static_cast<std::int64_t>(points.size())};
  if (points.size() < kEnoughPoints) {
    return result;
  }
  const std::size_t best = best_of(points);
  result.selected = static_cast<std::int64_t>(best);
  const Column column = column_of(points, parameter);
  if (column.count < 2) {
    return result;
  }
  const std::vector<double> among_all = density(column, points.size());
  const std::vector<double> among_best = density(column, best);
  for (std::size_t cell = 0; cell < column.count; ++cell) {
    const double excess = among_best[cell] / among_all[cell] - 1.0;
    result.divergence += among_all[cell] * excess * excess;
  }
  return result;
}

}  // namespace

const std::string* setting_of(const Point& point, const std::string& path) {
  const auto found = std::ranges::find(point, path, &Setting::path);
  return found == point.end() ? nullptr : &found->text;
}

std::vector<Importance> importances(std::span<const Standing> leaderboard, std::span<const ParameterFacts> parameters) {
  std::vector<Importance> result;
  double sum = 0.0;
  for (const ParameterFacts& parameter : parameters) {
    result.push_back(importance_of(leaderboard, parameter));
    sum += result.back().divergence;
  }
  for (Importance& importance : result) {
    importance.share = sum > 0.0 ? importance.divergence / sum : 0.0;
  }
  std::ranges::stable_sort(result, std::ranges::greater(), &Importance::divergence);
  return result;
}

}  // namespace dormer::sweep
