#pragma once

#include <cstdint>
#include <string>

#include "dormer/train/run_config.hpp"
#include "dormer/train/run_plan.hpp"

namespace dormer::cli {

/// For a person. `program_bytes` is what the program and its libraries take of every rank's memory besides.
[[nodiscard]] std::string plan_text(const train::RunConfig& config, const train::RunPlan& plan,
                                    std::int64_t program_bytes);

/// One JSON object; every size in bytes. docs/plan.md says what its keys mean.
[[nodiscard]] std::string plan_json(const train::RunConfig& config, const train::RunPlan& plan,
                                    std::int64_t program_bytes);

}  // namespace dormer::cli
