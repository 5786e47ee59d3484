#pragma once

#include <cmath>

#include "dormer/kernels/host_device.hpp"

namespace dormer::kernels {

/// One element's AdamW update (Loshchilov and Hutter 2019, "Decoupled weight decay regularization"), in fp32 and in the
/// order of operations that PyTorch's single-tensor loop has. The scalars are made once per update, in fp64.
struct AdamWStep {
  float gradient_scale = 1.0F;          ///< clipping
  float decay = 1.0F;                   ///< 1 - learning rate * weight decay
  float first_weight = 0.1F;            ///< 1 - beta1
  float second_keep = 0.999F;           ///< beta2
  float second_weight = 0.001F;         ///< 1 - beta2
  float second_correction_root = 1.0F;  ///< sqrt(1 - beta2^t)
  float epsilon = 1e-8F;
  float step_size = 0.0F;  ///< learning rate / (1 - beta1^t)

  struct State {
    float parameter;
    float first_moment;
    float second_moment;
  };

  [[nodiscard]] DORMER_HOST_DEVICE State operator()(State state, float gradient) const {
    const float scaled = gradient * gradient_scale;
    const float decayed = state.parameter * decay;
    const float first = state.first_moment + first_weight * (scaled - state.first_moment);
    const float second = state.second_moment * second_keep + second_weight * scaled * scaled;
    const float denominator = std::sqrt(second) / second_correction_root + epsilon;
    return {decayed - step_size * (first / denominator), first, second};
  }
};

}  // namespace dormer::kernels
