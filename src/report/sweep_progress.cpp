#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "dormer/report/wording.hpp"
#include "report/curves.hpp"
#include "report/sweep_parts.hpp"

namespace dormer::report {
namespace {

constexpr std::size_t kMostPoints = 2'000;
constexpr std::size_t kMostCurves = 60;
constexpr std::size_t kColouredCurves = 8;
constexpr std::size_t kMostSteps = 400;  // of a curve
constexpr std::size_t kMostWorkers = 40;
constexpr std::size_t kMostSpans = 4'000;

struct OutcomeLook {
  Outcome outcome;
  const char* name;
  const char* colour;
};
constexpr std::array<OutcomeLook, 4> kLooks{
    OutcomeLook{Outcome::kComplete, "complete", "c0"}, OutcomeLook{Outcome::kStopped, "stopped", "quiet"},
    OutcomeLook{Outcome::kGoingOn, "going on", "c2"}, OutcomeLook{Outcome::kFailed, "failed", "c6"}};

Series points_of(const OutcomeLook& look) {
  return {.name = look.name,
          .x = {},
          .y = {},
          .labels = {},
          .mark = Mark::kPoints,
          .labels_tell_all = true,
          .colour = look.colour};
}

/// The best value up to each trial, of complete ones alone where there are some: others' values are of fewer updates.
Series best_so_far(const SweepView& view) {
  Series series{.name = "best so far", .x = {}, .y = {}, .labels = {}, .mark = Mark::kSteps, .colour = "c1"};
  const auto complete = [](const SweepTrial& trial) { return trial.outcome == Outcome::kComplete; };
  const bool any_complete = std::ranges::any_of(view.sweep.trials, complete);
  for (const SweepTrial& trial : view.sweep.trials) {
    const std::optional<double> value = last_value(trial);
    if (value && (!any_complete || complete(trial)) && (series.y.empty() || view.better(*value, series.y.back()))) {
      series.x.push_back(static_cast<double>(trial.number));
      series.y.push_back(*value);
    }
  }
  if (!series.x.empty() && series.x.back() < static_cast<double>(view.sweep.trials.back().number)) {
    series.x.push_back(static_cast<double>(view.sweep.trials.back().number));
    series.y.push_back(series.y.back());
  }
  return series;
}

/// The words that say what a rung's trials came to.
std::string rung_words(const SweepRung& rung) {
  const std::int64_t reached = rung.passed + rung.stopped + rung.failed + rung.going_on;
  std::string text =
      rung.step == 0 ? fmt::format("{} begun", reached) : fmt::format("{} reached update {}", reached, rung.step);
  for (const auto& [count, what] : {std::pair(rung.passed, "went on or completed"), std::pair(rung.stopped, "stopped"),
                                    std::pair(rung.failed, "failed"), std::pair(rung.going_on, "going on")}) {
    text += count > 0 ? fmt::format(", {} {}", count, what) : "";
  }
  return text;
}

std::pair<double, const char*> time_unit(double seconds) {
  return seconds < 600.0           ? std::pair(1.0, "seconds")
         : seconds < 3.0 * 3'600.0 ? std::pair(60.0, "minutes")
                                   : std::pair(3'600.0, "hours");
}

Series curve_of(const SweepTrial& trial, const Edge& edge, std::size_t rank) {
  Series series{.name = fmt::format("trial {} (point {})", trial.number, trial.point),
                .x = {},
                .y = {},
                .labels = {},
                .listed = rank < kColouredCurves,
                .colour = rank < kColouredCurves ? fmt::format("c{}", rank) : "quiet"};
  for (const SweepValue& one : trial.values) {
    series.x.push_back(static_cast<double>(one.step));
    series.y.push_back(edge.inside(one.value));
  }
  return thinned(series, kMostSteps);
}

}  // namespace

Plot history_plot(const SweepView& view) {
  Plot plot{.id = "plot-history",
            .title = capitalized(view.metric) + " of every trial",
            .x_label = "trial",
            .y_label = view.metric,
            .summary = {},
            .series = {}};
  const std::vector<double> values = view.last_values();
  const Edge edge = view.edge();
  const std::vector<std::size_t> drawn = view.some(kMostPoints);
  for (const OutcomeLook& look : kLooks) {
    Series series = points_of(look);
    for (const std::size_t index : drawn) {
      const SweepTrial& trial = view.sweep.trials[index];
      const std::optional<double> value = last_value(trial);
      if (trial.outcome == look.outcome && value) {
        series.x.push_back(static_cast<double>(trial.number));
        series.y.push_back(edge.inside(*value));
        series.labels.push_back(fmt::format("{}, {} after {}", trial_label(trial), trial.state,
                                            counted(static_cast<std::size_t>(last_step(trial)), "update")));
      }
    }
    if (!series.x.empty()) {
      plot.series.push_back(std::move(series));
    }
  }
  const Series best = best_so_far(view);
  plot.summary = best.x.empty() ? "No trial was measured yet."
                                : fmt::format("The last value of each trial. The best is {}; {} without a value.",
                                              number_text(best.y.back()),
                                              counted(view.sweep.trials.size() - values.size(), "trial"));
  plot.summary += edge_note(edge, values) + view.some_note(kMostPoints);
  if (!best.x.empty()) {
    plot.series.push_back(best);
  }
  return plot;
}

Plot curves_plot(const SweepView& view) {
  Plot plot{.id = "plot-curves",
            .title = capitalized(view.metric) + " by updates",
            .x_label = "update",
            .y_label = view.metric,
            .summary = {},
            .series = {}};
  std::vector<double> values;
  for (const SweepTrial& trial : view.sweep.trials) {
    for (const SweepValue& one : trial.values) {
      values.push_back(one.value);
    }
  }
  if (values.empty()) {
    plot.summary = "No trial was measured yet.";
    return plot;
  }
  const Edge edge = edge_of(values, view.sweep.maximize);
  std::vector<std::size_t> drawn = view.some(kMostCurves);
  std::erase_if(drawn, [&](std::size_t index) { return view.sweep.trials[index].values.empty(); });
  std::vector<std::size_t> measured;
  std::ranges::copy_if(view.best, std::back_inserter(measured),
                       [&](std::size_t index) { return std::ranges::find(drawn, index) != drawn.end(); });
  for (std::size_t rank = measured.size(); rank > kColouredCurves; --rank) {  // the others lie below
    plot.series.push_back(curve_of(view.sweep.trials[measured[rank - 1]], edge, rank - 1));
  }
  for (std::size_t rank = 0; rank < std::min(measured.size(), kColouredCurves); ++rank) {
    plot.series.push_back(curve_of(view.sweep.trials[measured[rank]], edge, rank));
  }
  plot.summary = fmt::format("A curve a trial; coloured are those of the best points, {} first.",
                             plot.series[measured.size() - std::min(measured.size(), kColouredCurves)].name);
  plot.summary += edge_note(edge, values) + view.some_note(kMostCurves);
  return plot;
}

Plot rungs_plot(const SweepView& view) {
  Plot plot{.id = "plot-rungs",
            .title = "What became of the trials at each rung",
            .x_label = "update",
            .y_label = "trials",
            .summary = {},
            .series = {}};
  const auto count_of = [](const SweepRung& rung, Outcome outcome) {
    return outcome == Outcome::kComplete  ? rung.passed
           : outcome == Outcome::kStopped ? rung.stopped
           : outcome == Outcome::kFailed  ? rung.failed
                                          : rung.going_on;
  };
  std::vector<double> base(view.sweep.rungs.size(), 0.0);
  for (const OutcomeLook& look : kLooks) {
    Series series{.name = look.outcome == Outcome::kComplete ? "went on or completed" : look.name,
                  .x = {},
                  .y = {},
                  .labels = {},
                  .mark = Mark::kBars,
                  .labels_tell_all = true,
                  .colour = look.colour};
    for (std::size_t i = 0; i < view.sweep.rungs.size(); ++i) {
      const auto count = static_cast<double>(count_of(view.sweep.rungs[i], look.outcome));
      if (count > 0.0) {
        series.x.push_back(static_cast<double>(i));
        series.base.push_back(base[i]);
        series.y.push_back(base[i] += count);
        series.labels.push_back(rung_words(view.sweep.rungs[i]));
      }
    }
    if (!series.x.empty()) {
      plot.series.push_back(std::move(series));
    }
  }
  for (const SweepRung& rung : view.sweep.rungs) {
    plot.x_axis.categories.push_back(rung.step == 0 ? "begun" : fmt::format("{}", rung.step));
    plot.summary += (plot.summary.empty() ? "" : "; ") + rung_words(rung);
  }
  plot.summary = capitalized(plot.summary) + ".";
  return plot;
}

Plot timeline_plot(const SweepView& view) {
  std::vector<std::string> workers;
  double end = 0.0;
  for (const WorkerSpan& span : view.sweep.timeline) {
    if (std::ranges::find(workers, span.worker) == workers.end()) {
      workers.push_back(span.worker);
    }
    end = std::max(end, span.end);
  }
  std::ranges::sort(workers);
  const std::size_t all = workers.size();
  workers.resize(std::min(all, kMostWorkers));
  const auto [unit, unit_name] = time_unit(end);
  Plot plot{.id = "plot-timeline",
            .title = "Which trials the workers had when",
            .x_label = fmt::format("{} since the sweep began", unit_name),
            .y_label = {},
            .summary = fmt::format("{} over {}.", counted(all, "worker"), duration_text(end)),
            .series = {},
            .sideways = true,
            .height = 70.0 + 22.0 * static_cast<double>(workers.size())};
  std::size_t drawn = 0;
  for (const OutcomeLook& look : kLooks) {
    plot.series.push_back(points_of(look));
    plot.series.back().mark = Mark::kBars;
  }
  for (const WorkerSpan& span : view.sweep.timeline) {
    const auto worker = std::ranges::find(workers, span.worker);
    const auto trial = std::ranges::lower_bound(view.sweep.trials, span.trial, {}, &SweepTrial::number);
    const bool known = trial != view.sweep.trials.end() && trial->number == span.trial;
    if (worker == workers.end() || !known || ++drawn > kMostSpans) {
      continue;
    }
    const auto look = std::ranges::find(kLooks, trial->outcome, &OutcomeLook::outcome);
    Series& series = plot.series[static_cast<std::size_t>(look - kLooks.begin())];
    series.base.push_back(span.begin / unit);
    series.x.push_back(span.end / unit);
    series.y.push_back(static_cast<double>(worker - workers.begin()));
    series.labels.push_back(
        fmt::format("{}, {}, {}", trial_label(*trial), trial->state, duration_text(span.end - span.begin)));
  }
  std::erase_if(plot.series, [](const Series& series) { return series.x.empty(); });
  plot.y_axis.categories = workers;
  if (workers.size() < all) {
    plot.summary += fmt::format(" The first {} are drawn.", workers.size());
  }
  if (drawn > kMostSpans) {
    plot.summary += fmt::format(" The first {} of {} stretches are drawn.", kMostSpans, drawn);
  }
  return plot;
}

}  // namespace dormer::report
