#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "report/curves.hpp"
#include "report/scale.hpp"
#include "report/sweep_parts.hpp"

namespace dormer::report {
namespace {

constexpr std::size_t kMostLines = 300;
constexpr std::size_t kMostAxes = 11;  // and one of values
constexpr std::size_t kColours = 8;
constexpr double kLowestHeight = 0.14;  // of axes that have a place below for trials without them

/// A parameter's axis: where its texts stand, and what stands beside it.
struct Upright {
  ParallelAxis axis;
  const Places* places = nullptr;
  Range range;
  double lowest = 0.0;  ///< where the smallest value stands
  [[nodiscard]] double height(double place) const {
    const double within = range.high > range.low ? (place - range.low) / (range.high - range.low) : 0.5;
    return lowest + (1.0 - lowest) * within;
  }
  [[nodiscard]] double height(const std::optional<std::string>& text) const {
    if (!text) {
      return 0.0;
    }
    const double place = places->of(*text);
    return height(places->log ? std::log10(place) : place);
  }
};

void add_ticks(Upright& upright, bool log) {
  const double low = log ? std::pow(10.0, upright.range.low) : upright.range.low;
  const double high = log ? std::pow(10.0, upright.range.high) : upright.range.high;
  if (!(upright.range.high > upright.range.low)) {
    upright.axis.ticks.emplace_back(upright.height(upright.range.low), number_text(low));
    return;
  }
  // So that values at the ends have their ticks whatever the last bits of a power of ten are.
  const double more = 1e-9;
  const std::vector<double> values = log ? log_ticks(low * (1.0 - more), high * (1.0 + more))
                                         : ticks(low - more * (high - low), high + more * (high - low));
  for (const double value : values) {
    const double step = values.size() > 1 ? values[1] - values[0] : 1.0;
    upright.axis.ticks.emplace_back(upright.height(log ? std::log10(value) : value),
                                    log ? log_tick_text(value) : tick_text(value, step));
  }
}

Upright parameter_axis(const SweepView& view, std::size_t parameter, const std::vector<std::size_t>& drawn) {
  Upright upright{
      .axis = {.name = view.names[parameter], .full_name = view.sweep.parameters[parameter].path, .ticks = {}},
      .places = &view.places[parameter],
      .range = {}};
  for (const std::size_t index : drawn) {
    const std::optional<std::string>& text = view.sweep.trials[index].settings[parameter];
    if (!text) {
      upright.lowest = kLowestHeight;
    } else {
      const double place = upright.places->of(*text);
      upright.range.include(upright.places->log ? std::log10(place) : place);
    }
  }
  if (upright.lowest > 0.0) {
    upright.axis.ticks.emplace_back(0.0, "not set");
  }
  if (upright.places->named()) {
    upright.range = {-0.5, static_cast<double>(upright.places->names.size()) - 0.5};
    for (std::size_t i = 0; i < upright.places->names.size(); i += name_stride(upright.places->names.size())) {
      upright.axis.ticks.emplace_back(upright.height(static_cast<double>(i)), upright.places->names[i]);
    }
  } else if (upright.range.low <= upright.range.high) {
    add_ticks(upright, upright.places->log);
  }
  return upright;
}

Upright value_axis(const SweepView& view, const std::vector<std::size_t>& drawn, const Edge& edge) {
  Upright upright{
      .axis = {.name = view.metric, .full_name = view.sweep.metric, .ticks = {}}, .places = nullptr, .range = {}};
  for (const std::size_t index : drawn) {
    if (const std::optional<double> value = last_value(view.sweep.trials[index])) {
      upright.range.include(edge.inside(*value));
    }
  }
  if (upright.range.low <= upright.range.high) {
    add_ticks(upright, false);
  }
  return upright;
}

/// Trials that are drawn, from below to above: those without a value, then from the worst to the best one.
std::vector<std::size_t> by_value(const SweepView& view, std::vector<std::size_t> trials) {
  std::ranges::stable_sort(trials, [&](std::size_t left, std::size_t right) {
    const std::optional<double> one = last_value(view.sweep.trials[left]);
    const std::optional<double> other = last_value(view.sweep.trials[right]);
    return one && other ? view.better(*other, *one) : !one && other;
  });
  return trials;
}

/// All that the lines of the picture need.
struct Coordinates {
  std::vector<std::size_t> parameters;  ///< in their own order
  std::vector<std::size_t> drawn;       ///< trials, the lowest line first
  std::size_t measured = 0;             ///< of them, that have a value: the last ones
  std::vector<Upright> axes;            ///< one a parameter
  Upright value;
  Edge edge;
};

Coordinates coordinates_of(const SweepView& view) {
  Coordinates result;
  const auto axes = static_cast<std::ptrdiff_t>(std::min(view.ordered.size(), kMostAxes));
  result.parameters.assign(view.ordered.begin(), view.ordered.begin() + axes);
  std::ranges::sort(result.parameters);
  result.drawn = view.some(kMostLines);
  std::erase_if(result.drawn, [&](std::size_t index) {
    const SweepTrial& trial = view.sweep.trials[index];
    return !last_value(trial) && trial.outcome != Outcome::kFailed;
  });
  result.drawn = by_value(view, result.drawn);
  result.measured = static_cast<std::size_t>(std::ranges::count_if(
      result.drawn, [&](std::size_t index) { return last_value(view.sweep.trials[index]).has_value(); }));
  result.edge = view.edge();
  for (const std::size_t parameter : result.parameters) {
    result.axes.push_back(parameter_axis(view, parameter, result.drawn));
  }
  result.value = value_axis(view, result.drawn, result.edge);
  return result;
}

/// The line of the trial that is drawn as the one of this number.
ParallelLine line_of(const SweepView& view, const Coordinates& at, std::size_t number) {
  const SweepTrial& trial = view.sweep.trials[at.drawn[number]];
  const std::optional<double> last = last_value(trial);
  // An eighth of the trials a colour: a few far ones do not press the others into one.
  const std::size_t colour = last ? (at.drawn.size() - 1 - number) * kColours / at.measured : 0;
  ParallelLine line{
      .label = trial_label(trial), .colour = last ? fmt::format("v{}", colour) : "failed", .heights = {}, .texts = {}};
  for (std::size_t i = 0; i < at.parameters.size(); ++i) {
    const std::optional<std::string>& text = trial.settings[at.parameters[i]];
    line.heights.push_back(at.axes[i].height(text));
    line.texts.push_back(text.value_or("not set"));
  }
  line.heights.push_back(last ? at.value.height(at.edge.inside(*last)) : std::nan(""));
  line.texts.push_back(last ? number_text(*last) : "none");
  return line;
}

std::string summary_of(const SweepView& view, const Coordinates& at) {
  std::string text =
      "A line a trial, across what it was set to, to its last value; each colour is an eighth of the trials.";
  text += at.measured < at.drawn.size() ? " Dashed lines are trials that failed before they had a value." : "";
  if (at.parameters.size() < view.ordered.size()) {
    text +=
        fmt::format(" The {} most important of {} parameters are drawn.", at.parameters.size(), view.ordered.size());
  }
  return text + edge_note(at.edge, view.last_values()) + view.some_note(kMostLines);
}

}  // namespace

Parallel parallel_plot(const SweepView& view) {
  const Coordinates at = coordinates_of(view);
  Parallel plot{.id = "plot-parallel",
                .title = "Parameters and " + view.metric,
                .summary = summary_of(view, at),
                .best = {},
                .worst = {},
                .axes = {},
                .lines = {}};
  for (const Upright& upright : at.axes) {
    plot.axes.push_back(upright.axis);
  }
  plot.axes.push_back(at.value.axis);
  for (std::size_t i = 0; i < at.drawn.size(); ++i) {
    plot.lines.push_back(line_of(view, at, i));
  }
  if (at.measured > 0) {
    const auto value = [&](std::size_t number) {
      return number_text(*last_value(view.sweep.trials[at.drawn[number]]));
    };
    plot.best = "best " + value(at.drawn.size() - 1);
    plot.worst = value(at.drawn.size() - at.measured) + " worst";
  }
  return plot;
}

}  // namespace dormer::report
