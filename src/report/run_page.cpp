#include <filesystem>
#include <set>

#include <fmt/format.h>

#include "dormer/core/atomic_file.hpp"
#include "dormer/report/report.hpp"
#include "report/curves.hpp"
#include "report/escape.hpp"
#include "report/layers.hpp"
#include "report/page.hpp"

namespace dormer::report {
namespace {

constexpr const char* kUpdates = "update";

std::string capitalized(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') {
    text[0] = static_cast<char>(text[0] - 'a' + 'A');
  }
  return text;
}

/// "from 2.1 at update 1 to 1.4 at update 60"
std::string from_to(const Series& series) {
  if (series.x.empty()) {
    return "not measured";
  }
  return fmt::format("from {} at update {:.0f} to {} at update {:.0f}", number_text(series.y.front()), series.x.front(),
                     number_text(series.y.back()), series.x.back());
}

Plot loss_plot(const Run& run) {
  const Series training = values_of(run, kLoss.metric);
  const Series held_out = values_of(run, kHeldOut.metric);
  Plot plot{.id = "plot-loss", .title = "Loss", .x_label = kUpdates, .y_label = "loss", .summary = {}, .series = {}};
  for (const Curve& one : {kLoss, kHeldOut}) {
    Series series = curve(run, one.metric, std::string(one.name));
    if (!series.x.empty()) {
      plot.series.push_back(std::move(series));
    }
  }
  for (const std::string& metric : held_out_groups(run)) {
    plot.series.push_back(curve(run, metric, metric.substr(kHeldOut.metric.size() + 1)));
  }
  plot.summary = fmt::format("Training loss {}.", from_to(training));
  if (const std::optional<Point> best = smallest_of(held_out)) {
    plot.summary += fmt::format(" Held-out loss {}; the best is {} at update {:.0f}.", from_to(held_out),
                                number_text(best->value), best->step);
  } else {
    plot.summary += " No held-out loss was measured.";
  }
  return plot;
}

Plot single_plot(const Run& run, std::string_view metric, std::string id) {
  const std::string name = spaced(metric);
  const Series values = values_of(run, metric);
  Plot plot{.id = std::move(id),
            .title = capitalized(name),
            .x_label = kUpdates,
            .y_label = name,
            .summary = values.x.empty() ? "Not measured yet." : capitalized(from_to(values)) + ".",
            .series = {}};
  if (!values.x.empty()) {
    plot.summary += fmt::format(" The median is {}.", number_text(median_of(values.y)));
  }
  plot.series.push_back(curve(run, metric, name));
  return plot;
}

Table run_table(const RunRecord& record) {
  Table table{.title = "This run", .head = {}, .rows = {{"state", record.state}}};
  table.rows.push_back({"exit code", record.exit_code ? fmt::format("{}", *record.exit_code) : "none yet"});
  for (const auto& [name, value] : record.facts) {
    table.rows.push_back({name, value});
  }
  return table;
}

Table config_table(const RunRecord& record) {
  Table table{.title = "Configuration, defaults included", .head = {"key", "value"}, .rows = {}};
  for (const auto& [key, value] : record.config) {
    table.rows.push_back({key, value});
  }
  return table;
}

}  // namespace

namespace {

constexpr std::size_t kMostSteps = 6;  // of a prompt that the page shows: the first, the last and some between
constexpr std::size_t kMostBytes = std::size_t{32} << 20U;

/// Steps that are shown, evenly over all.
std::set<std::int64_t> shown_steps(const std::vector<SampleFile>& samples) {
  std::set<std::int64_t> steps;
  for (const SampleFile& sample : samples) {
    steps.insert(sample.step);
  }
  if (steps.size() <= kMostSteps) {
    return steps;
  }
  const std::vector<std::int64_t> all(steps.begin(), steps.end());
  steps.clear();
  for (std::size_t index = 0; index < kMostSteps; ++index) {
    steps.insert(all[index * (all.size() - 1) / (kMostSteps - 1)]);
  }
  return steps;
}

/// Each prompt's pictures side by side, from the first step to the last.
Gallery samples_of(const Run& run) {
  Gallery gallery{.id = "samples", .title = "Samples", .summary = {}, .pictures = {}};
  const std::set<std::int64_t> steps = shown_steps(run.samples);
  std::size_t bytes = 0;
  for (const SampleFile& sample : run.samples) {
    std::error_code code;
    const auto size = static_cast<std::size_t>(std::filesystem::file_size(sample.path, code));
    if (!steps.contains(sample.step) || code || bytes + size > kMostBytes) {
      continue;
    }
    bytes += size;
    gallery.pictures.emplace_back(fmt::format("Picture {} after update {}", sample.path.stem().string(), sample.step),
                                  data_uri("image/png", read_file(sample.path, "picture")));
  }
  gallery.summary =
      fmt::format("{} of {} pictures in {}/{}, each prompt from the first step to the last.", gallery.pictures.size(),
                  run.samples.size(), run.folder.filename().string(), Run::kSamplesFolder);
  return gallery;
}

}  // namespace

std::string run_page(const Run& run, std::string_view bundle) {
  const RunRecord& record = run.record;
  const std::int64_t step = run.metrics.empty() ? record.step : run.metrics.back().step;
  Page page{.title = record.name,
            .summary = fmt::format("{}. Update {}{}.", capitalized(record.state), step,
                                   record.total_steps > 0 ? fmt::format(" of {}", record.total_steps) : ""),
            .parts = {}};
  page.parts = {loss_plot(run), single_plot(run, kLearningRate.metric, "plot-learning-rate"),
                single_plot(run, kGradientNorm.metric, "plot-gradient-norm"),
                single_plot(run, throughput_metric(run), "plot-throughput"), layers_plot(record)};
  if (!run.samples.empty()) {
    page.parts.emplace_back(samples_of(run));
  }
  page.parts.emplace_back(run_table(record));
  if (!record.layers.empty()) {
    page.parts.emplace_back(layers_table(record));
  }
  if (!record.config.empty()) {
    page.parts.emplace_back(config_table(record));
  }
  return html(page, bundle);
}

}  // namespace dormer::report
