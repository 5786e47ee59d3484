#pragma once

#include <cstddef>
#include <string>

#include "dormer/sweep/goal.hpp"
#include "dormer/sweep/scheduler.hpp"
#include "dormer/sweep/store.hpp"
#include "dormer/sweep/sweep_config.hpp"
#include "dormer/sweep/timeline.hpp"

namespace dormer::cli {

/// What a sweep's journal says now, for who only looks. An error where there is no sweep yet, or another one.
class SweepView {
 public:
  explicit SweepView(const sweep::SweepConfig& config);
  [[nodiscard]] const sweep::Scheduler& scheduler() const { return state_.scheduler(); }
  [[nodiscard]] const sweep::Timeline& timeline() const { return timeline_; }
  [[nodiscard]] const sweep::SweepPaths& paths() const { return paths_; }

 private:
  sweep::SweepPaths paths_;
  sweep::SweepState state_;
  sweep::Timeline timeline_{};
};

[[nodiscard]] sweep::Goal goal_of(const sweep::SweepConfig& config);

/// One line: trials by state, and the best of the complete ones.
[[nodiscard]] std::string progress_text(const sweep::Scheduler& scheduler, const sweep::SweepConfig& config);

/// The status as a table.
[[nodiscard]] std::string status_of(const sweep::Scheduler& scheduler, const sweep::SweepConfig& config,
                                    std::size_t best);

/// Writes report.html; "report: " with its path, or nothing and a warning where that cannot be.
std::string write_sweep_report(const SweepView& view, const sweep::SweepConfig& config);

}  // namespace dormer::cli
