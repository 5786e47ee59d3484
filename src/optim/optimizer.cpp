#include "dormer/optim/optimizer.hpp"

#include <algorithm>

namespace dormer::optim {

std::vector<ParameterGroup> plan_groups(std::span<const tensor::ParameterEntry> entries, std::int64_t size,
                                        const OptimizerSettings& settings) {
  std::vector<ParameterGroup> groups;
  for (std::size_t index = 0; index < entries.size(); ++index) {
    const bool magnitude = entries[index].role == tensor::ParameterRole::kMagnitude;
    GroupSettings chosen = magnitude ? settings.magnitudes : settings.factors;
    chosen.learning_rate = entries[index].learning_rate.value_or(chosen.learning_rate);
    if (entries[index].role == tensor::ParameterRole::kFactorOut) {
      chosen.learning_rate *= settings.outer_factor_ratio;
    }
    // Alignment gaps hold zeros for ever; they belong to the parameter before them.
    const std::int64_t begin = index == 0 ? 0 : entries[index].offset;
    const std::int64_t end = index + 1 < entries.size() ? entries[index + 1].offset : size;
    if (!groups.empty() && groups.back().learning_rate == chosen.learning_rate &&
        groups.back().weight_decay == chosen.weight_decay && groups.back().stop_after == entries[index].stop_after) {
      groups.back().range.end = end;
    } else {
      groups.push_back({.range = {begin, end},
                        .learning_rate = chosen.learning_rate,
                        .weight_decay = chosen.weight_decay,
                        .stop_after = entries[index].stop_after});
    }
  }
  return groups;
}

double clipping_scale(double global_norm, double maximum) {
  return maximum <= 0.0 ? 1.0 : std::min(1.0, maximum / (global_norm + 1e-6));
}

}  // namespace dormer::optim
