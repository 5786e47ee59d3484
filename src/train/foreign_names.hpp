#pragma once

#include <vector>

#include "dormer/config/read.hpp"

namespace dormer::train {

/// Names that people bring from PEFT, transformers, TRL, kohya's scripts and OneTrainer, with the lines to write here.
[[nodiscard]] std::vector<config::ForeignName> foreign_names();

}  // namespace dormer::train
