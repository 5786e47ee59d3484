#pragma once

#include <string>
#include <vector>

#include "dormer/train/run_config.hpp"

namespace dormer::train {

/// The rules of the groups `optimizer` and `schedule` that no single field can state; as `check`. Pure.
void check_optimizer(const RunConfig& config, std::vector<std::string>& messages);

}  // namespace dormer::train
