#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "dormer/adapter/change.hpp"

namespace dormer::adapter {

/// The bias of a layer where it trains, beside a change of the weight or with the whole layer: an fp32 master copy in
/// the flat space, which takes the frozen one's place in the compute dtype. No decomposition scales it.
class TrainedBias {
 public:
  /// Adds the parameter "<site>.bias"; the layer has a bias.
  TrainedBias(const FrozenLayer& layer, tensor::FlatSpace& space);
  void initialize();
  void refresh();                                                     ///< once per generation
  [[nodiscard]] const at::Tensor& values() const { return values_; }  ///< [out], compute dtype
  /// Adds to the bound slot what the gradient of the layer's output gives.
  void add_gradient(const at::Tensor& gradient) const;

 private:
  tensor::FlatSpace& space_;
  tensor::BaseWeight frozen_;
  std::size_t parameter_;
  at::Tensor values_;
};

/// Δ = 0: of a layer whose bias alone trains, or that an update leaves out. No parameter gets a gradient.
[[nodiscard]] std::unique_ptr<Change> unchanged_weight(const FrozenLayer& layer);

}  // namespace dormer::adapter
