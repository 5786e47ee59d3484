#include "report/curves.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace dormer::report {
namespace {

constexpr std::size_t kMostPoints = 2'000;  // of a curve in a page: more than a screen is wide

}  // namespace

Series values_of(const Run& run, std::string_view metric) {
  Series series{.name = std::string(metric), .x = {}, .y = {}, .labels = {}};
  for (const StepMetrics& step : run.metrics) {
    for (const Metric& one : step.metrics) {
      if (one.name == metric) {
        series.x.push_back(static_cast<double>(step.step));
        series.y.push_back(std::visit([](auto value) { return static_cast<double>(value); }, one.value));
      }
    }
  }
  return series;
}

Series curve(const Run& run, std::string_view metric, std::string name) {
  Series series = thinned(values_of(run, metric), kMostPoints);
  series.name = std::move(name);
  return series;
}

std::set<std::string> held_out_groups(const Run& run) {
  std::set<std::string> names;
  for (const StepMetrics& step : run.metrics) {
    for (const Metric& one : step.metrics) {
      if (one.name.starts_with(kHeldOut.metric) && one.name.size() > kHeldOut.metric.size() + 1) {
        names.insert(one.name);
      }
    }
  }
  return names;
}

std::string throughput_metric(const Run& run) {
  return values_of(run, "samples_per_second").x.empty() ? "tokens_per_second" : "samples_per_second";
}

std::string spaced(std::string_view metric) {
  std::string text(metric);
  std::ranges::replace(text, '_', ' ');
  return text;
}

std::optional<Point> last_of(const Series& series) {
  return series.x.empty() ? std::nullopt : std::optional<Point>({series.x.back(), series.y.back()});
}

std::optional<Point> smallest_of(const Series& series) {
  if (series.x.empty()) {
    return std::nullopt;
  }
  const auto smallest = std::ranges::min_element(series.y);
  return Point{series.x[static_cast<std::size_t>(smallest - series.y.begin())], *smallest};
}

double median_of(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return values.empty() ? 0.0 : *middle;
}

std::string number_text(double value) {
  return fmt::format("{:.5g}", value);
}

std::string number_text(const std::optional<Point>& point) {
  return point ? number_text(point->value) : "none";
}

}  // namespace dormer::report
