#pragma once

#include <string>
#include <vector>

#include "dormer/comm/communicator.hpp"
#include "dormer/core/heartbeat.hpp"
#include "dormer/train/run_config.hpp"

namespace dormer::train {

/// Computes what a run on images computes once, latents and states of texts, into `data.cache`, and nothing else: a run
/// then begins at once. What is there already is not computed again. All ranks call; errors are those of all. Returns
/// where it is and what of. `heartbeat` may be null.
std::string fill_cache(const RunConfig& config, comm::Communicator& communicator, Heartbeat* heartbeat = nullptr);

/// Every text that a run on images reads, once each, in order: what text.embeddings must hold. Errors as those of
/// `fill_cache`, and a usage error where captions are too many to be listed.
[[nodiscard]] std::vector<std::string> list_texts(const RunConfig& config);

}  // namespace dormer::train
