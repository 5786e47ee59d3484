#include <map>
#include <set>

#include <fmt/format.h>

#include "dormer/report/report.hpp"
#include "report/curves.hpp"
#include "report/layers.hpp"
#include "report/page.hpp"

namespace dormer::report {
namespace {

/// The runs' names; where two are the same, all are named by their folders.
std::vector<std::string> names_of(std::span<const Run> runs) {
  std::vector<std::string> names;
  for (const Run& run : runs) {
    names.push_back(run.record.name);
  }
  if (std::set<std::string>(names.begin(), names.end()).size() < names.size()) {
    for (std::size_t i = 0; i < runs.size(); ++i) {
      names[i] = runs[i].folder.string();
    }
  }
  return names;
}

Plot overlay(std::span<const Run> runs, const std::vector<std::string>& names, std::string_view metric, Plot plot) {
  plot.x_label = "update";
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const std::optional<Point> last = last_of(values_of(runs[i], metric));
    plot.summary += fmt::format("{}{}: {}", i == 0 ? "At the end: " : "; ", names[i], number_text(last));
    plot.series.push_back(curve(runs[i], metric, names[i]));
  }
  plot.summary += ".";
  return plot;
}

Plot named_plot(std::string id, std::string title, std::string y_label) {
  return {.id = std::move(id),
          .title = std::move(title),
          .x_label = {},
          .y_label = std::move(y_label),
          .summary = {},
          .series = {}};
}

Table results(std::span<const Run> runs, const std::vector<std::string>& names) {
  Table table{.title = "Results",
              .head = {"run", "state", "updates", "held-out loss at the end", "best held-out loss", "at update",
                       "training loss at the end", "median throughput"},
              .rows = {}};
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const Run& run = runs[i];
    const Series held_out = values_of(run, kHeldOut.metric);
    const std::optional<Point> best = smallest_of(held_out);
    const std::string metric = throughput_metric(run);
    const Series throughput = values_of(run, metric);
    table.rows.push_back(
        {names[i], run.record.state, fmt::format("{}", run.metrics.empty() ? 0 : run.metrics.back().step),
         number_text(last_of(held_out)), number_text(best), best ? fmt::format("{:.0f}", best->step) : "none",
         number_text(last_of(values_of(run, kLoss.metric))),
         throughput.x.empty() ? "none" : fmt::format("{} {}", number_text(median_of(throughput.y)), spaced(metric))});
  }
  return table;
}

/// The keys whose values are not the same in all runs.
Table differences(std::span<const Run> runs, const std::vector<std::string>& names) {
  std::map<std::string, std::vector<std::string>> values;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    for (const auto& [key, value] : runs[i].record.config) {
      std::vector<std::string>& row = values[key];
      row.resize(runs.size(), "not set");
      row[i] = value;
    }
  }
  Table table{.title = "Where the configurations differ", .head = {"key"}, .rows = {}};
  table.head.insert(table.head.end(), names.begin(), names.end());
  for (const auto& [key, row] : values) {
    if (std::set<std::string>(row.begin(), row.end()).size() > 1) {
      table.rows.push_back({key});
      table.rows.back().insert(table.rows.back().end(), row.begin(), row.end());
    }
  }
  return table;
}

}  // namespace

std::string comparison_page(std::span<const Run> runs, std::string_view bundle) {
  const std::vector<std::string> names = names_of(runs);
  Page page{.title = fmt::format("{} runs compared", runs.size()), .summary = {}, .parts = {}};
  for (std::size_t i = 0; i < runs.size(); ++i) {
    page.summary += fmt::format("{}{} ({})", i == 0 ? "" : ", ", names[i], runs[i].folder.string());
  }
  page.parts = {
      overlay(runs, names, kHeldOut.metric, named_plot("plot-held-out-loss", "Held-out loss", "held-out loss")),
      overlay(runs, names, kLoss.metric, named_plot("plot-loss", "Training loss", "training loss")),
      overlay(runs, names, kLearningRate.metric, named_plot("plot-learning-rate", "Learning rate", "learning rate")),
      overlay(runs, names, kGradientNorm.metric, named_plot("plot-gradient-norm", "Gradient norm", "gradient norm"))};
  const std::string throughput = runs.empty() ? "tokens_per_second" : throughput_metric(runs[0]);
  page.parts.emplace_back(
      overlay(runs, names, throughput, named_plot("plot-throughput", "Throughput", spaced(throughput))));
  page.parts.emplace_back(layers_plot(runs, names));
  page.parts.emplace_back(results(runs, names));
  page.parts.emplace_back(differences(runs, names));
  return html(page, bundle);
}

}  // namespace dormer::report
