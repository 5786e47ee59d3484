#pragma once

#include <span>

#include "dormer/core/random_key.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::tensor {

/// x with elements dropped (0 with probability `rate`, in [0, 1)) and the rest divided by 1 - rate: a fresh tensor, not
/// recorded. x is [rows, width], rows a multiple of the keys; every sample's rows have their own key, and the mask is a
/// pure function of it and of the element's place in the sample. The gradient takes the same call.
[[nodiscard]] at::Tensor dropped_out(const at::Tensor& x, std::span<const RandomKey> sample_keys, double rate);

}  // namespace dormer::tensor
