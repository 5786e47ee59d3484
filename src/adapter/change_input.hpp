#pragma once

#include <ATen/core/Tensor.h>

namespace dormer::adapter {

/// The layer's input as its backward pass gives it to a change, which in the forward pass saw its channels multiplied.
struct ChangeInput {
  at::Tensor x;
  at::Tensor factor;  ///< fp32 [channels of a group]; undefined: x as it is

  /// What the forward pass saw: a copy, or x. A change whose gradients are those of single channels multiplies them
  /// instead.
  [[nodiscard]] at::Tensor scaled() const;
};

}  // namespace dormer::adapter
