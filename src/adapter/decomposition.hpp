#pragma once

#include <cstddef>

#include <ATen/core/Tensor.h>

#include "dormer/adapter/change.hpp"

namespace dormer::adapter {

/// How a decomposition counts its norms.
struct DecompositionRule {
  Axis axis = Axis::kOutput;
  double epsilon = 0.0;           ///< added to every norm
  bool norm_gradient = false;     ///< whether the norm passes gradients to the change (LyCORIS) or is a constant
  bool rounds_magnitude = false;  ///< whether the first magnitudes are rounded to the dtype of W
};

/// DoRA around any change: the effective weight is m (W + Δ) / n with n the norms of W + Δ on one axis. On the output
/// axis that scales the layer's outputs, on the input axis its inputs. The norm is fp32 and computed once per
/// generation of the flat space.
class Decomposition {
 public:
  Decomposition(const FrozenLayer& layer, DecompositionRule rule, tensor::FlatSpace& space);
  [[nodiscard]] Axis axis() const { return rule_.axis; }
  [[nodiscard]] bool norm_gradient() const { return rule_.norm_gradient; }

  /// A saved scaled output is divided by the magnitude only where every factor is at least this: no overflow, no lost
  /// bits.
  static constexpr float kSafeFactor = 1e-6F;

  /// Norms of W + Δ, from terms (design: cross and square), with cancelling rows computed densely. `settle` follows.
  void refresh(const Change& change);
  /// On the output axis: decides with `smallest_factor`'s value how the outputs are saved. The value comes over from
  /// the device for all sites at once.
  void settle(float smallest_factor) { factor_invertible_ = smallest_factor >= kSafeFactor; }
  [[nodiscard]] const at::Tensor& smallest_factor() const { return smallest_factor_; }  ///< fp32 []: min |m / n|
  /// m := n without epsilon. `refresh` comes before and after.
  void reset_magnitude();

  [[nodiscard]] const at::Tensor& factor() const { return factor_; }  ///< fp32 [norm_count]: m / n; 1 where n is 0
  [[nodiscard]] const at::Tensor& norm() const { return norm_; }      ///< fp32 [norm_count]
  [[nodiscard]] at::Tensor magnitude() const { return space_.value(magnitude_); }  ///< fp32 [norm_count]
  /// Whether y / factor is as good as the unscaled output for every row: then the output itself serves the magnitude's
  /// gradient.
  [[nodiscard]] bool factor_invertible() const { return factor_invertible_; }
  [[nodiscard]] bool trains() const { return space_.trains(magnitude_); }
  /// Adds to the change's slots what the norm passes on: the effective weight's gradient times m V / n has the part
  /// -m (G·V) V / n³ for every norm, G·V = n `sums` with `sums` what one backward pass gives the magnitudes.
  void add_norm_gradient(const Change& change, const at::Tensor& sums) const;
  [[nodiscard]] at::Tensor magnitude_gradient() const { return space_.gradient(magnitude_); }
  /// What turns sum(g * saved output) into the magnitude's gradient: 1/m where the saved output is scaled, 1/n where
  /// not.
  [[nodiscard]] const at::Tensor& gradient_factor(bool output_scaled) const {
    return output_scaled ? inverse_magnitude_ : inverse_norm_;
  }

 private:
  tensor::FlatSpace& space_;
  FrozenLayer layer_;
  DecompositionRule rule_;
  std::size_t magnitude_;
  at::Tensor norm_;
  at::Tensor factor_;
  at::Tensor inverse_magnitude_;
  at::Tensor inverse_norm_;
  at::Tensor smallest_factor_;
  bool factor_invertible_ = true;
};

}  // namespace dormer::adapter
