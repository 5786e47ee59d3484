#include "peft_numbers.hpp"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "peft_kronecker.hpp"

namespace dormer::interop {
namespace {

/// Scales are quotients of small numbers in double precision, which writers compute in different orders.
bool same_scale(double a, double b) {
  constexpr double kRounding = 1e-14;
  return std::abs(a - b) <= kRounding * std::abs(b);
}

bool plain(const StoredLayer& layer) {
  return layer.alpha && same_scale(*layer.alpha / static_cast<double>(layer.rank), layer.scale);
}

bool stabilized(const StoredLayer& layer) {
  return layer.kind.starts_with("lo") &&
         layer.factors.contains("lora_A") + layer.factors.contains("lora_embedding_A") && layer.alpha &&
         same_scale(*layer.alpha / std::sqrt(static_cast<double>(layer.rank)), layer.scale);
}

PeftNumbers::Pair commonest(const std::map<std::string, PeftNumbers::Pair>& layers) {
  std::map<std::pair<std::int64_t, double>, std::size_t> counts;
  for (const auto& [name, pair] : layers) {
    ++counts[{pair.rank, pair.alpha}];
  }
  const auto most = std::ranges::max_element(counts, {}, [](const auto& entry) { return entry.second; });
  return most == counts.end() ? PeftNumbers::Pair{} : PeftNumbers::Pair{most->first.first, most->first.second};
}

}  // namespace

PeftNumbers peft_numbers(const StoredAdapter& adapter, bool decompose_both) {
  std::vector<const StoredLayer*> scaled;
  for (const auto& [name, layer] : adapter.layers) {
    if (layer.rank > 0) {
      scaled.push_back(&layer);
    }
  }
  PeftNumbers numbers;
  numbers.rank_stabilized = std::ranges::all_of(scaled, [](const StoredLayer* layer) { return stabilized(*layer); }) &&
                            !std::ranges::all_of(scaled, [](const StoredLayer* layer) { return plain(*layer); });
  for (const auto& [name, layer] : adapter.layers) {
    if (layer.rank > 0) {
      const bool as_configured = numbers.rank_stabilized || plain(layer);
      numbers.layers[name] = {.rank = layer.rank, .alpha = as_configured ? *layer.alpha : plain_alpha(layer)};
    }
  }
  numbers.usual = commonest(numbers.layers);
  for (const auto& [name, layer] : adapter.layers) {
    if (layer.kind == "lokr" && layer.rank == 0) {
      const std::int64_t rank = std::max(numbers.usual.rank, whole_rank(layer, decompose_both));
      numbers.layers[name] = {.rank = rank, .alpha = static_cast<double>(rank)};
    }
  }
  if (scaled.empty()) {
    numbers.usual = commonest(numbers.layers);
  }
  return numbers;
}

}  // namespace dormer::interop
