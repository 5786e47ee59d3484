#pragma once

#include "dormer/adapter/site.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::adapter {

/// Sees what layers are given in a forward pass (`Pack::observer`).
class InputObserver {
 public:
  virtual ~InputObserver() = default;
  /// x as LayerForm says, on the model's device. Layers that share an input are given the same tensor, one right after
  /// the other.
  virtual void see(const Site& site, const at::Tensor& x) = 0;
};

}  // namespace dormer::adapter
