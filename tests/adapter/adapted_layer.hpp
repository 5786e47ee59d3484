#pragma once

#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>

#include "dormer/adapter/adapter_set.hpp"
#include "support/tensor_comparison.hpp"

namespace dormer::test {

/// One frozen layer with seeded random weights.
inline adapter::FrozenLayer frozen_layer(std::int64_t out, std::int64_t in, bool bias,
                                         at::ScalarType dtype = at::kFloat) {
  adapter::FrozenLayer layer;
  layer.site = {"block.0.q_proj", "attention", 0, out, in, 0};
  layer.weight = {"block.0.q_proj.weight", normal({out, in}, 71, 0.3).to(dtype), nullptr, false};
  if (bias) {
    layer.bias = {"block.0.q_proj.bias", normal({out}, 72).to(dtype), nullptr, false};
  }
  return layer;
}

struct AdaptedLayer {
  std::vector<adapter::FrozenLayer> layers;
  std::unique_ptr<adapter::AdapterSet> adapters;
  at::Tensor gradient;
};

/// An adapter on it; with `moved` every parameter is away from its start, so that the change is as large as W.
inline AdaptedLayer adapted_layer(const adapter::AdapterConfig& config, bool moved, adapter::FrozenLayer layer) {
  AdaptedLayer result;
  result.layers.push_back(std::move(layer));
  result.adapters = std::make_unique<adapter::AdapterSet>(config, result.layers, RandomKey{5});
  tensor::FlatSpace& space = result.adapters->space();
  if (moved) {
    std::uint64_t seed = 80;
    for (const tensor::ParameterEntry& entry : space.entries()) {
      tensor::FlatSpace::unpadded_part(space.values(), entry).add_(normal(entry.shape, seed++, 0.3));
    }
    space.mark_written();
    result.adapters->refresh();
  }
  result.gradient = at::zeros({space.size()}, at::kFloat);
  space.bind_gradient(result.gradient);
  return result;
}

inline AdaptedLayer adapted_layer(const std::string& kind, bool decompose, bool moved, adapter::FrozenLayer layer,
                                  std::int64_t rank = 3, double dropout = 0.0) {
  adapter::AdapterConfig config;
  config.kind = kind;
  config.rank = rank;
  config.alpha.text = "2*rank";
  config.targets = {"q_proj"};
  config.dropout = dropout;
  if (decompose) {
    config.decompose.emplace();
  }
  return adapted_layer(config, moved, std::move(layer));
}

}  // namespace dormer::test
