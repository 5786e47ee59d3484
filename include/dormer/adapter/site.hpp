#pragma once

#include <cstdint>
#include <string>

#include "dormer/tensor/base_weight.hpp"

namespace dormer::adapter {

/// One place of a model where an adapter can attach: a frozen linear layer, y = x Wᵀ + b.
struct Site {
  std::string name;         ///< module path in the field's naming: "model.layers.0.self_attn.q_proj"
  std::string group;        ///< "attention", "mlp", "head", "embedding"
  std::int64_t layer = -1;  ///< block index; -1 outside of blocks
  std::int64_t out = 0;
  std::int64_t in = 0;
  std::size_t index = 0;  ///< position in the model's list of sites
};

/// The frozen part of a site.
struct FrozenLinear {
  Site site;
  tensor::BaseWeight weight;  ///< [out, in], compute dtype
  tensor::BaseWeight bias;    ///< [out] or undefined
};

}  // namespace dormer::adapter
