#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dormer/adapter/site.hpp"
#include "dormer/core/dtype.hpp"
#include "dormer/device/choice.hpp"

namespace dormer::train {

/// What a rank's training memory follows from, the frozen base left out; elements are fp32.
struct TrainingFacts {
  std::int64_t flat_elements = 0;   ///< of the flat space
  std::int64_t gradient_bytes = 0;  ///< of all flat buffers of gradients that exist at a time
  std::int64_t state_elements = 0;  ///< of the flat space whose two moments this rank holds
  std::int64_t rows = 0;            ///< tokens of a micro-batch
  std::int64_t hidden = 0;
  std::int64_t blocks = 0;
  bool recompute = false;      ///< only the blocks' inputs are kept, and one block's activations at a time
  DType dtype = DType::kBF16;  ///< of activations
};

/// The parts of a training step's memory. Activations are what is kept at least: every frozen layer's output, or its
/// like (a normed input, a rotated query), waits for the backward pass. Pure.
[[nodiscard]] std::vector<device::MemoryPart> training_memory(const TrainingFacts& facts,
                                                              std::span<const adapter::FrozenLayer> layers);

}  // namespace dormer::train
