#pragma once

#include <cstdint>

#include "dormer/tensor/forward.hpp"

namespace dormer::model {

/// How numbers become waves: Vaswani et al. 2017, with diffusers' two settings.
struct TimestepWaves {
  std::int64_t width = 0;        ///< of the result
  bool cosine_first = true;      ///< flip_sin_to_cos
  double frequency_shift = 0.0;  ///< the lowest frequency is 1/10000 to the power 1 - 1/(width/2 - shift)
};

/// fp32 [numbers] as fp32 [numbers, width]: cosines and sines of number times falling frequencies.
[[nodiscard]] at::Tensor timestep_embedding(const at::Tensor& numbers, const TimestepWaves& waves);

}  // namespace dormer::model
