#pragma once

#include <span>

#include "dormer/report/run_record.hpp"
#include "report/page.hpp"

namespace dormer::report {

/// The plot of the DoRA paper for one run: a point a layer, grouped by the last part of the layers' names.
[[nodiscard]] Plot layers_plot(const RunRecord& record);

/// The same for several runs: a group a run.
[[nodiscard]] Plot layers_plot(std::span<const Run> runs, std::span<const std::string> names);

/// The numbers behind it.
[[nodiscard]] Table layers_table(const RunRecord& record);

}  // namespace dormer::report
