#pragma once

#include <cstdint>

#include "dormer/comm/communicator.hpp"
#include "dormer/train/run_config.hpp"

namespace dormer::train {

/// Bytes that a rank of such a run may take now: what its GPU has free, or its part of what the machine has, of the
/// rank that has least. All ranks call, and all get the same. Errors of `run.device` are those of all.
[[nodiscard]] std::int64_t available_memory(comm::Communicator& communicator, const RunConfig& config);

}  // namespace dormer::train
