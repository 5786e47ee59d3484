#pragma once

#include <string>

#include "dormer/interop/stored_adapter.hpp"
#include "dormer/tensor/forward.hpp"

/// Stored layers as plain matrices, straight from the formulas: slow, short, and independent of the arithmetic that
/// trains, which it checks.
namespace dormer::interop {

/// Δ, scale included: fp32 [out, columns]; of an embedding [width, vocabulary]. A `full` layer has none (bug).
[[nodiscard]] at::Tensor dense_change(const std::string& name, const StoredLayer& layer);
/// The same of the factors' absolute values: what rounding errors of Δ are measured by.
[[nodiscard]] at::Tensor dense_change_of_magnitudes(const std::string& name, const StoredLayer& layer);
/// What the layer multiplies with in the place of `weight` (any float dtype, in the layer's shape): fp32, that shape. A
/// weight of another shape is an input fault.
[[nodiscard]] at::Tensor dense_effective_weight(const std::string& name, const StoredLayer& layer,
                                                const at::Tensor& weight);

}  // namespace dormer::interop
