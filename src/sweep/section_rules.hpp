#pragma once

#include <string>
#include <vector>

#include "dormer/config/read.hpp"
#include "dormer/sweep/sweep_config.hpp"

namespace dormer::sweep {

/// The rules between the keys of the section; each message is "sweep.key: text". Pure.
[[nodiscard]] std::vector<std::string> check(const SweepSection& sweep);

/// Names that people bring from Optuna, Ray Tune, W&B and Katib, with the lines to write here.
[[nodiscard]] std::vector<config::ForeignName> foreign_sweep_names();

}  // namespace dormer::sweep
