#include "train/memory_estimate.hpp"

#include <algorithm>
#include <map>

namespace dormer::train {

std::vector<device::MemoryPart> training_memory(const TrainingFacts& facts,
                                                std::span<const adapter::FrozenLayer> layers) {
  constexpr auto kFloat = static_cast<std::int64_t>(sizeof(float));
  constexpr std::int64_t kMoments = 2;
  std::map<std::int64_t, std::int64_t> widths;  // of the outputs of each block
  for (const adapter::FrozenLayer& layer : layers) {
    if (layer.site.form == adapter::LayerForm::kLinear) {
      widths[layer.site.layer] += layer.site.out;
    }
  }
  std::int64_t all = 0;
  std::int64_t widest = 0;
  for (const auto& [block, width] : widths) {
    all += width;
    widest = std::max(widest, width);
  }
  const std::int64_t kept = facts.recompute ? facts.blocks * facts.hidden + widest : all;
  return {{"adapters", facts.flat_elements * kFloat},
          {"gradients", facts.gradient_bytes},
          {"moments", facts.state_elements * kMoments * kFloat},
          {"activations", kept * facts.rows * static_cast<std::int64_t>(size_of(facts.dtype))}};
}

}  // namespace dormer::train
