#pragma once

#include "report/page.hpp"
#include "report/sweep_view.hpp"

namespace dormer::report {

// What a sweep's page consists of.

[[nodiscard]] Tiles sweep_tiles(const SweepView& view);
/// The first places, and the others folded.
[[nodiscard]] std::vector<Table> leaderboard_tables(const SweepView& view);
/// Reasons, and which trials they ended.
[[nodiscard]] Table failures_table(const SweepView& view);
/// Every trial with its settings and the command that repeats it.
[[nodiscard]] Folds trial_folds(const SweepView& view);
[[nodiscard]] Gallery sample_gallery(const SweepView& view);

/// Value by trial number, with the best one so far.
[[nodiscard]] Plot history_plot(const SweepView& view);
/// The metric by updates, a curve a trial.
[[nodiscard]] Plot curves_plot(const SweepView& view);
/// How many trials passed each rung and what became of the others.
[[nodiscard]] Plot rungs_plot(const SweepView& view);
/// Which trial each worker had when.
[[nodiscard]] Plot timeline_plot(const SweepView& view);

[[nodiscard]] Parallel parallel_plot(const SweepView& view);
[[nodiscard]] Plot importances_plot(const SweepView& view);
/// The value against each parameter.
[[nodiscard]] PlotGrid slices(const SweepView& view);
/// The value against each cost.
[[nodiscard]] PlotGrid fronts(const SweepView& view);

}  // namespace dormer::report
