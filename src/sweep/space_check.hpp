#pragma once

#include <vector>

#include "dormer/config/tree.hpp"
#include "dormer/sweep/sweep_config.hpp"
#include "sweep/entry_reader.hpp"

namespace dormer::sweep {

/// Checks every path of the space, and every value of a list and end of a range by itself, against the keys of a run.
void check_values(const config::Document& document, const std::vector<WrittenEntry>& entries, Mistakes& mistakes);

/// Checks whole points: a value is a mistake where no run can be made of any of many points that have it.
void check_points(const SweepConfig& config, const std::vector<WrittenEntry>& entries, Mistakes& mistakes);

}  // namespace dormer::sweep
