#pragma once

#include <cstdint>
#include <string>

#include "dormer/interop/adapter_format.hpp"
#include "dormer/interop/stored_adapter.hpp"

namespace dormer::interop {

/// A plain LoRA that stands for another adapter, and how far off it is.
struct Approximation {
  StoredAdapter adapter;
  double error = 0.0;        ///< |what it adds - what the adapter adds| / |what the adapter adds|, over all layers
  double worst_error = 0.0;  ///< the same of the layer that fares worst
  std::string worst_layer;
};

/// The LoRA of this rank that is nearest to what `adapter` makes of the weights in `base.layers` (Eckart and Young
/// 1936: the largest singular values of W' - W, in fp64). A way out for programs without DoRA; a DoRA's own change has
/// full rank. Input faults: layers that the base does not have, or has in other shapes; usage errors: ranks below one,
/// and layers that are not linear.
[[nodiscard]] Approximation approximate_by_lora(const StoredAdapter& adapter, const BaseFacts& base, std::int64_t rank);

}  // namespace dormer::interop
