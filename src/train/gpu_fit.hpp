#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "dormer/train/run_config.hpp"
#include "dormer/train/run_plan.hpp"

namespace dormer::train {

/// For CUDA's context and kernels, the workspaces of its libraries, NCCL's buffers, and what the caching allocator
/// rounds up and leaves between blocks. An assumption: nothing of it is rehearsed.
inline constexpr std::int64_t kAssumedGpuBytes = std::int64_t{1} << 30;

/// One thing that a person can change to need less memory.
struct Saving {
  std::string change;  ///< "run.recompute: true"
  std::function<void(RunConfig& config)> apply;
};

/// The changes that could help, those first that leave the experiment as it is. Pure.
[[nodiscard]] std::vector<Saving> possible_savings(const RunConfig& config, int ranks);

/// Compares `peak` with a GPU of so many bytes, and where it is too large asks `peak_of` what changes would give.
[[nodiscard]] GpuFit fit_on_gpu(const RunConfig& config, int ranks, std::int64_t peak, std::int64_t available,
                                const std::function<std::int64_t(const RunConfig&)>& peak_of);

}  // namespace dormer::train
