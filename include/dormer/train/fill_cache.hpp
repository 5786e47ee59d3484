#pragma once

#include <string>

#include "dormer/comm/communicator.hpp"
#include "dormer/core/heartbeat.hpp"
#include "dormer/train/run_config.hpp"

namespace dormer::train {

/// Computes what a run on images computes once, latents and states of texts, into `data.cache`, and nothing else: a run
/// then begins at once. What is there already is not computed again. All ranks call; errors are those of all. Returns
/// where it is and what of. `heartbeat` may be null.
std::string fill_cache(const RunConfig& config, comm::Communicator& communicator, Heartbeat* heartbeat = nullptr);

}  // namespace dormer::train
