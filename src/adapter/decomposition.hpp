#pragma once

#include <cstddef>

#include <ATen/core/Tensor.h>

#include "dormer/adapter/change.hpp"

namespace dormer::adapter {

/// DoRA by output rows around any change: the effective weight is m (W + Δ) / n with n the row norms of W + Δ. The norm
/// is a constant for the gradient (as PEFT and OneTrainer), fp32, and computed once per generation of the flat space.
class Decomposition {
 public:
  Decomposition(const FrozenLinear& layer, tensor::FlatSpace& space);

  /// A saved scaled output is divided by the magnitude only where every factor is at least this: no overflow, no lost
  /// bits.
  static constexpr float kSafeFactor = 1e-6F;

  /// Norms of W + Δ, from terms (design: cross and square), with cancelling rows computed densely. `settle` follows.
  void refresh(const Change& change);
  /// Decides with `smallest_factor`'s value how the outputs are saved. The value comes over from the device for all
  /// sites at once.
  void settle(float smallest_factor) { factor_invertible_ = smallest_factor >= kSafeFactor; }
  [[nodiscard]] const at::Tensor& smallest_factor() const { return smallest_factor_; }  ///< fp32 []: min |m / n|
  /// m := n. `refresh` comes before and after.
  void reset_magnitude();

  [[nodiscard]] const at::Tensor& factor() const { return factor_; }  ///< fp32 [out]: m / n; 1 where n is 0
  [[nodiscard]] const at::Tensor& norm() const { return norm_; }      ///< fp32 [out]
  [[nodiscard]] at::Tensor magnitude() const { return space_.value(magnitude_); }  ///< fp32 [out]
  /// Whether y / factor is as good as the unscaled output for every row: then the output itself serves the magnitude's
  /// gradient.
  [[nodiscard]] bool factor_invertible() const { return factor_invertible_; }
  [[nodiscard]] bool trains() const { return space_.trains(magnitude_); }
  [[nodiscard]] at::Tensor magnitude_gradient() const { return space_.gradient(magnitude_); }
  /// What turns sum(g * saved output) into the magnitude's gradient: 1/m where the saved output is scaled, 1/n where
  /// not.
  [[nodiscard]] const at::Tensor& gradient_factor(bool output_scaled) const {
    return output_scaled ? inverse_magnitude_ : inverse_norm_;
  }

 private:
  tensor::FlatSpace& space_;
  tensor::BaseWeight weight_;
  std::size_t magnitude_;
  at::Tensor norm_;
  at::Tensor factor_;
  at::Tensor inverse_magnitude_;
  at::Tensor inverse_norm_;
  at::Tensor smallest_factor_;
  bool factor_invertible_ = true;
};

}  // namespace dormer::adapter
