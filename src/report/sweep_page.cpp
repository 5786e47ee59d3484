#include "dormer/report/sweep_page.hpp"

#include "report/sweep_parts.hpp"

namespace dormer::report {
namespace {

Table pairs_table(std::string title, const std::vector<std::pair<std::string, std::string>>& pairs, bool folded) {
  Table table{.title = std::move(title), .head = {}, .rows = {}, .folded = folded};
  for (const auto& [name, value] : pairs) {
    table.rows.push_back({name, value});
  }
  return table;
}

}  // namespace

std::string sweep_page(const SweepRecord& sweep, std::string_view bundle) {
  const SweepView view(sweep);
  Page page{.title = view.sweep.name, .summary = capitalized(view.sweep.state), .parts = {}};
  page.parts = {sweep_tiles(view)};
  for (Table& table : leaderboard_tables(view)) {
    page.parts.emplace_back(std::move(table));
  }
  const auto add = [&](Part part, bool wanted) {
    if (wanted) {
      page.parts.push_back(std::move(part));
    }
  };
  Table failures = failures_table(view);
  const bool any_failure = !failures.rows.empty();
  add(std::move(failures), any_failure);
  add(history_plot(view), true);
  add(parallel_plot(view), !view.sweep.parameters.empty());
  add(importances_plot(view), !view.sweep.parameters.empty());
  add(slices(view), !view.sweep.parameters.empty());
  add(curves_plot(view), true);
  add(rungs_plot(view), view.sweep.rungs.size() > 1);
  add(fronts(view), !view.sweep.fronts.empty());
  add(timeline_plot(view), !view.sweep.timeline.empty());
  Gallery samples = sample_gallery(view);
  const bool any_sample = !samples.pictures.empty();
  add(std::move(samples), any_sample);
  add(trial_folds(view), !view.sweep.trials.empty());
  add(pairs_table("This sweep", view.sweep.facts, false), !view.sweep.facts.empty());
  add(pairs_table("Configuration that all trials have in common", view.sweep.config, true), !view.sweep.config.empty());
  return html(page, bundle);
}

}  // namespace dormer::report
