#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/report/run_record.hpp"
#include "report/plot.hpp"

namespace dormer::report {

/// One name and axis title of the curves that a run has.
struct Curve {
  std::string_view metric;
  std::string_view name;
};

constexpr Curve kLoss{"loss", "training"};
constexpr Curve kHeldOut{"validation_loss", "held-out"};
constexpr Curve kLearningRate{"learning_rate", "learning rate"};
constexpr Curve kGradientNorm{"gradient_norm", "gradient norm"};

/// Every value of a metric; empty for one that the run does not have.
[[nodiscard]] Series values_of(const Run& run, std::string_view metric);

/// The metric's curve as a page shows it.
[[nodiscard]] Series curve(const Run& run, std::string_view metric, std::string name);

/// Metrics that are held-out losses of a group of samples, "validation_loss.NAME", sorted.
[[nodiscard]] std::set<std::string> held_out_groups(const Run& run);

/// The metric that says how fast the run is, "tokens_per_second" or "samples_per_second", as its metrics have it.
[[nodiscard]] std::string throughput_metric(const Run& run);

/// "tokens_per_second" as a person reads it.
[[nodiscard]] std::string spaced(std::string_view metric);

/// The value at the end, or the smallest with its step.
struct Point {
  double step = 0.0;
  double value = 0.0;
};
[[nodiscard]] std::optional<Point> last_of(const Series& series);
[[nodiscard]] std::optional<Point> smallest_of(const Series& series);
[[nodiscard]] double median_of(std::vector<double> values);

/// A number in a sentence or a cell.
[[nodiscard]] std::string number_text(double value);
[[nodiscard]] std::string number_text(const std::optional<Point>& point);

}  // namespace dormer::report
