#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dormer/train/run_config.hpp"

namespace dormer::train {

/// What one rank of a run would do and hold.
struct RankPlan {
  std::int64_t micro_batches = 0;   ///< of every update
  std::int64_t state_elements = 0;  ///< of the flat space whose moments it holds
  std::int64_t bytes_sent = 0;      ///< in every update
};

/// What a configuration would do, found without training: model and data are opened and checked.
struct RunPlan {
  std::string model;  ///< "llama, 30 blocks, in …"
  std::int64_t training_samples = 0;
  std::int64_t training_tokens = 0;  ///< of the data set
  std::int64_t total_steps = 0;
  std::int64_t warmup_steps = 0;
  std::int64_t micro_batches = 0;  ///< of an update
  std::int64_t leaves = 0;         ///< of the exact reduction's tree
  std::int64_t adapted_layers = 0;
  std::int64_t parameters = 0;     ///< trainable, without padding
  std::int64_t flat_elements = 0;  ///< with padding: what a rank holds of values, and again of gradients
  std::int64_t base_bytes = 0;     ///< of the adapted layers' frozen weights
  bool base_mapped = false;        ///< shared by the ranks of a machine
  std::vector<RankPlan> ranks;
};

/// Plans `config` for so many ranks. Throws what starting the run would throw about its files and numbers.
[[nodiscard]] RunPlan plan_run(const RunConfig& config, int ranks);

}  // namespace dormer::train
