#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include <fmt/format.h>

#include "dormer/report/wording.hpp"
#include "report/curves.hpp"
#include "report/scale.hpp"
#include "report/sweep_parts.hpp"

namespace dormer::report {
namespace {

constexpr std::size_t kMostSlices = 24;
constexpr std::size_t kMostPoints = 500;  // of a slice
constexpr std::size_t kMostBars = 20;
constexpr std::size_t kMostOffers = 1'000;
constexpr double kLogCosts = 30.0;  // the largest cost is so many times the smallest: a logarithm
constexpr double kSmallHeight = 250.0;

struct Correlated {
  double place = 0.0;
  double value = 0.0;
};

/// Ranks from 0, those of equals their mean.
std::vector<double> ranks(const std::vector<double>& values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::sort(order, {}, [&](std::size_t index) { return values[index]; });
  std::vector<double> result(values.size());
  for (std::size_t first = 0; first < order.size();) {
    std::size_t last = first;
    while (last + 1 < order.size() && values[order[last + 1]] == values[order[first]]) {
      ++last;
    }
    for (std::size_t i = first; i <= last; ++i) {
      result[order[i]] = 0.5 * static_cast<double>(first + last);
    }
    first = last + 1;
  }
  return result;
}

/// Spearman's rank correlation; nothing where one side does not vary.
std::optional<double> rank_correlation(const std::vector<Correlated>& points) {
  std::vector<double> x;
  std::vector<double> y;
  for (const Correlated& point : points) {
    x.push_back(point.place);
    y.push_back(point.value);
  }
  x = ranks(x);
  y = ranks(y);
  const double mean = 0.5 * (static_cast<double>(points.size()) - 1.0);
  double xx = 0.0;
  double yy = 0.0;
  double xy = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mean) * (x[i] - mean);
    yy += (y[i] - mean) * (y[i] - mean);
    xy += (x[i] - mean) * (y[i] - mean);
  }
  return xx > 0.0 && yy > 0.0 ? std::optional(xy / std::sqrt(xx * yy)) : std::nullopt;
}

/// What a slice shows, in words: about complete trials, whose values can be compared.
std::string slice_summary(const SweepView& view, std::size_t parameter) {
  std::vector<Correlated> points;
  std::map<std::string, std::vector<double>> groups;
  for (const SweepTrial& trial : view.sweep.trials) {
    const std::optional<std::string>& text = trial.settings[parameter];
    if (text && trial.outcome == Outcome::kComplete && last_value(trial)) {
      points.push_back({view.places[parameter].of(*text), *last_value(trial)});
      groups[*text].push_back(*last_value(trial));
    }
  }
  if (points.size() < 3) {
    return fmt::format("{}.", counted(points.size(), "complete trial"));
  }
  if (!view.places[parameter].named()) {
    const std::optional<double> correlation = rank_correlation(points);
    return correlation ? fmt::format("Rank correlation with the value {:.2f} ({} complete trials).", *correlation,
                                     points.size())
                       : fmt::format("No difference among {} complete trials.", points.size());
  }
  const auto mean = [](const auto& group) {
    return std::accumulate(group.second.begin(), group.second.end(), 0.0) / static_cast<double>(group.second.size());
  };
  const auto best = std::ranges::min_element(
      groups, [&](double left, double right) { return view.better(left, right); }, mean);
  return fmt::format("Best mean: {} with {} ({}).", best->first, number_text(mean(*best)),
                     counted(best->second.size(), "complete trial"));
}

/// A place beside the name's own, the same for a trial in every slice, so that points do not hide each other.
double beside(const SweepTrial& trial) {
  const double turn = 0.618033988749895 * static_cast<double>(trial.number);
  return 0.36 * (turn - std::floor(turn) - 0.5);
}

/// Points of one colour, still without any.
Series group(std::string name, std::string colour, bool listed = true) {
  return {.name = std::move(name),
          .x = {},
          .y = {},
          .labels = {},
          .mark = Mark::kPoints,
          .labels_tell_all = true,
          .listed = listed,
          .colour = std::move(colour)};
}

Plot slice(const SweepView& view, std::size_t parameter, const std::vector<std::size_t>& drawn, const Edge& edge) {
  const Places& places = view.places[parameter];
  Plot plot{.id = fmt::format("plot-slice-{}", parameter),
            .title = view.sweep.parameters[parameter].path,
            .x_label = {},
            .y_label = view.metric,
            .summary = slice_summary(view, parameter),
            .series = {group("not complete", "quiet", false), group("complete", "c0", false),
                       group("best point", "c1", false)},
            .x_axis = {.log = places.log, .categories = places.names},
            .small = true,
            .height = kSmallHeight};
  const std::int64_t best = view.sweep.standings.empty() ? -1 : view.sweep.standings.front().point;
  for (const std::size_t index : drawn) {
    const SweepTrial& trial = view.sweep.trials[index];
    const std::optional<double> value = last_value(trial);
    if (!value || !trial.settings[parameter]) {
      continue;
    }
    Series& series = plot.series[trial.point == best ? 2 : trial.outcome == Outcome::kComplete ? 1 : 0];
    series.x.push_back(places.of(*trial.settings[parameter]) + (places.named() ? beside(trial) : 0.0));
    series.y.push_back(edge.inside(*value));
    series.labels.push_back(fmt::format("{}, {}", trial_label(trial), *trial.settings[parameter]));
  }
  std::erase_if(plot.series, [](const Series& series) { return series.x.empty(); });
  return plot;
}

Plot front_plot(const SweepView& view, std::size_t number, bool small) {
  const SweepFront& front = view.sweep.fronts[number];
  std::vector<double> values;
  Range costs;
  for (const SweepFront::Offer& offer : front.offers) {
    values.push_back(offer.value);
    costs.include(offer.cost);
  }
  const Edge edge = view.edge();
  Plot plot{.id = fmt::format("plot-front-{}", number),
            .title = fmt::format("{} against {}", capitalized(view.metric), front.cost),
            .x_label = front.cost,
            .y_label = view.metric,
            .summary = {},
            .series = {},
            .small = small,
            .height = small ? kSmallHeight : 320.0};
  plot.x_axis.log = costs.low > 0.0 && costs.high / costs.low > kLogCosts;
  Series others = group("points", "quiet");
  Series best = group("not beaten in both", "c1");
  for (const SweepFront::Offer& offer : front.offers) {
    Series& series = offer.on_front ? best : others;
    if (!offer.on_front && others.x.size() == kMostOffers) {
      continue;
    }
    series.x.push_back(offer.cost);
    series.y.push_back(edge.inside(offer.value));
    series.labels.push_back(
        fmt::format("point {}: {} for {}", offer.point, number_text(offer.value), number_text(offer.cost)));
  }
  const Series line{
      .name = "front", .x = best.x, .y = best.y, .labels = {}, .mark = Mark::kSteps, .listed = false, .colour = "c1"};
  plot.summary =
      fmt::format("{} of {} are beaten by no other in both.", best.x.size(), counted(front.offers.size(), "point")) +
      edge_note(edge, values);
  plot.series = {others, line, best};
  std::erase_if(plot.series, [](const Series& series) { return series.x.empty(); });
  return plot;
}

}  // namespace

Plot importances_plot(const SweepView& view) {
  const std::size_t bars = std::min(view.sweep.importances.size(), kMostBars);
  Plot plot{.id = "plot-importances",
            .title = "Which parameters matter",
            .x_label = "share of the importance",
            .y_label = {},
            .summary = "Too few points have ended to tell, or they do not differ.",
            .series = {},
            .sideways = true,
            .height = 64.0 + 26.0 * static_cast<double>(bars)};
  Series series{.name = "importance", .x = {}, .y = {}, .labels = {}, .mark = Mark::kBars, .labels_tell_all = true};
  for (std::size_t i = 0; i < bars; ++i) {
    const SweepImportance& one = view.sweep.importances[i];
    const std::string share = fmt::format("{:.0f}%", 100.0 * one.share);
    plot.y_axis.categories.push_back(one.path + "  " + share);
    series.x.push_back(one.share);
    series.y.push_back(static_cast<double>(i));
    series.labels.push_back(
        fmt::format("{}: {}, of {}", one.path, share, counted(static_cast<std::size_t>(one.points), "point")));
  }
  if (bars > 0 && view.sweep.importances.front().share > 0.0) {
    plot.series.push_back(series);
    plot.summary = fmt::format(
        "How much each parameter has to do with a point being among the best tenth (PED-ANOVA, Watanabe et al. 2023). "
        "Most: {}.",
        view.sweep.importances.front().path);
  }
  return plot;
}

PlotGrid slices(const SweepView& view) {
  PlotGrid grid{.id = "slices",
                .title = capitalized(view.metric) + " against each parameter",
                .summary =
                    "The last value of each trial: blue of complete ones, orange those of the best point, grey of "
                    "others, whose values are of fewer updates.",
                .plots = {}};
  const std::vector<double> values = view.last_values();
  const Edge edge = view.edge();
  const std::vector<std::size_t> drawn = view.some(kMostPoints);
  for (std::size_t i = 0; i < std::min(view.ordered.size(), kMostSlices); ++i) {
    grid.plots.push_back(slice(view, view.ordered[i], drawn, edge));
  }
  if (grid.plots.size() < view.ordered.size()) {
    grid.summary +=
        fmt::format(" The {} most important of {} parameters are drawn.", grid.plots.size(), view.ordered.size());
  }
  grid.summary += edge_note(edge, values) + view.some_note(kMostPoints);
  return grid;
}

PlotGrid fronts(const SweepView& view) {
  PlotGrid grid{.id = "fronts", .title = "What better values cost", .summary = {}, .plots = {}};
  for (std::size_t i = 0; i < view.sweep.fronts.size(); ++i) {
    grid.plots.push_back(front_plot(view, i, view.sweep.fronts.size() > 1));
  }
  return grid;
}

}  // namespace dormer::report
