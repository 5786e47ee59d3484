#include "serving_limits.hpp"

#include <algorithm>

#include "dormer/core/error.hpp"
#include "peft_numbers.hpp"

namespace dormer::interop {

void require_linear_layers(std::string_view consumer, const StoredAdapter& adapter,
                           std::initializer_list<std::string_view> refused) {
  for (const auto& [name, layer] : adapter.layers) {
    const bool named = std::ranges::any_of(refused, [&](std::string_view end) { return name.ends_with(end); });
    require(!layer.factors.contains("lora_embedding_A") && !named, Fault::kUsage,
            "{} does not read the adapter of '{}'; write merged weights (export for merged), or train without it the "
            "next time",
            consumer, name);
  }
}

void require_one_alpha(std::string_view consumer, const StoredAdapter& adapter, bool rank_stabilized) {
  const PeftNumbers numbers = peft_numbers(adapter);
  require(rank_stabilized || !numbers.rank_stabilized, Fault::kUsage,
          "{} computes alpha / rank, and the scales here are alpha / sqrt(rank); write merged weights (export for "
          "merged), or train with adapter.rank_stabilized: false the next time",
          consumer);
  for (const auto& [name, pair] : numbers.layers) {
    require(pair.alpha == numbers.usual.alpha, Fault::kUsage,
            "{} reads one alpha for all layers, and that of '{}' is {} instead of {}; write merged weights (export for "
            "merged), or train with one alpha the next time",
            consumer, name, pair.alpha, numbers.usual.alpha);
  }
}

void require_one_scale(std::string_view consumer, const StoredAdapter& adapter) {
  for (const auto& [name, layer] : adapter.layers) {
    const StoredLayer& first = adapter.layers.begin()->second;
    require(layer.scale == first.scale, Fault::kUsage,
            "{} scales all layers alike, and '{}' has the scale {} instead of {}; write merged weights (export for "
            "merged), or train with one alpha / rank the next time",
            consumer, name, layer.scale, first.scale);
  }
}

void require_rank_at_most(std::string_view consumer, const StoredAdapter& adapter, std::int64_t most) {
  for (const auto& [name, layer] : adapter.layers) {
    require(
        layer.rank <= most, Fault::kUsage,
        "{} serves ranks up to {}, and '{}' has {}; write merged weights (export for merged), or train with a lower "
        "adapter.rank the next time",
        consumer, most, name, layer.rank);
  }
}

}  // namespace dormer::interop
