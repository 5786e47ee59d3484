#pragma once

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/adapter/site.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::adapter {

/// What an adapted layer multiplies with: m (W + Δ) / n with the cached norms, W + Δ where nothing is decomposed; fp32
/// in the layer's shape, on the host. `weight` is W in the precision that the result shall have, in any dtype. The site
/// must be one of the set's.
[[nodiscard]] at::Tensor effective_weight(const AdapterSet& adapters, const Site& site, const at::Tensor& weight);

}  // namespace dormer::adapter
