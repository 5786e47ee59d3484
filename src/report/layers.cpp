#include "report/layers.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "report/curves.hpp"

namespace dormer::report {
namespace {

constexpr std::size_t kEnoughToCorrelate = 3;

Plot empty_plot() {
  return {.id = "plot-layers",
          .title = "How far each layer turned, and how far it stretched",
          .x_label = "change of direction, mean 1 - cos(row, frozen row)",
          .y_label = "change of magnitude, mean |m - m0|",
          .summary = {},
          .series = {}};
}

void add_point(Series& series, const LayerChange& layer) {
  series.x.push_back(layer.direction);
  series.y.push_back(layer.magnitude);
  series.labels.push_back(layer.layer);
}

/// Pearson's correlation; 0 where one side does not vary.
double correlation(const std::vector<LayerChange>& layers) {
  const auto count = static_cast<double>(layers.size());
  double x = 0.0;
  double y = 0.0;
  for (const LayerChange& layer : layers) {
    x += layer.direction / count;
    y += layer.magnitude / count;
  }
  double xx = 0.0;
  double yy = 0.0;
  double xy = 0.0;
  for (const LayerChange& layer : layers) {
    xx += (layer.direction - x) * (layer.direction - x);
    yy += (layer.magnitude - y) * (layer.magnitude - y);
    xy += (layer.direction - x) * (layer.magnitude - y);
  }
  return xx > 0.0 && yy > 0.0 ? xy / std::sqrt(xx * yy) : 0.0;
}

/// Without layers whose weights are no numbers any more.
std::vector<LayerChange> finite(std::vector<LayerChange> layers) {
  std::erase_if(layers, [](const LayerChange& layer) {
    return !std::isfinite(layer.direction) || !std::isfinite(layer.magnitude);
  });
  return layers;
}

std::string layers_summary(const std::vector<LayerChange>& layers, std::int64_t step) {
  const auto furthest = std::ranges::max_element(layers, {}, [](const LayerChange& layer) { return layer.direction; });
  std::string text = fmt::format("{} layers after update {}. Turned furthest: {}, by {} on average over its rows.",
                                 layers.size(), step, furthest->layer, number_text(furthest->direction));
  if (layers.size() >= kEnoughToCorrelate) {
    text += fmt::format(
        " Correlation of the two changes over the layers: {:.2f} (Liu et al. 2024 found it negative for DoRA and full "
        "fine-tuning, positive for LoRA).",
        correlation(layers));
  }
  return text;
}

}  // namespace

Plot layers_plot(const RunRecord& record) {
  Plot plot = empty_plot();
  const std::vector<LayerChange> layers = finite(record.layers);
  if (layers.empty()) {
    plot.summary = "Not measured yet: a run writes it when it ends or saves itself to be started again.";
    return plot;
  }
  for (const LayerChange& layer : layers) {
    const std::string group = layer.layer.substr(layer.layer.rfind('.') + 1);
    auto found = std::ranges::find(plot.series, group, &Series::name);
    if (found == plot.series.end()) {
      found = plot.series.insert(plot.series.end(),
                                 Series{.name = group, .x = {}, .y = {}, .labels = {}, .mark = Mark::kPoints});
    }
    add_point(*found, layer);
  }
  plot.summary = layers_summary(layers, record.step);
  return plot;
}

Plot layers_plot(std::span<const Run> runs, std::span<const std::string> names) {
  Plot plot = empty_plot();
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const RunRecord& record = runs[i].record;
    const std::vector<LayerChange> layers = finite(record.layers);
    if (layers.empty()) {
      plot.summary += fmt::format("{}: not measured. ", names[i]);
      continue;
    }
    Series series{.name = names[i], .x = {}, .y = {}, .labels = {}, .mark = Mark::kPoints};
    for (const LayerChange& layer : layers) {
      add_point(series, layer);
    }
    plot.series.push_back(std::move(series));
    plot.summary += fmt::format("{}: {} ", names[i], layers_summary(layers, record.step));
  }
  return plot;
}

Table layers_table(const RunRecord& record) {
  Table table{.title = fmt::format("Layers after update {}", record.step),
              .head = {"layer", "change of direction", "change of magnitude"},
              .rows = {},
              .folded = true};
  for (const LayerChange& layer : record.layers) {
    table.rows.push_back({layer.layer, number_text(layer.direction), number_text(layer.magnitude)});
  }
  return table;
}

}  // namespace dormer::report
