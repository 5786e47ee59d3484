#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "dormer/inference/image_sampler.hpp"

namespace dormer::inference {

/// `steps` timesteps, the noisiest first, that lie `stride` apart and end at `last` strides and one more ("leading"
/// with an offset of 1, as Stable Diffusion's schedulers are set up). Throws a usage error for no step and for more
/// than the schedule has.
[[nodiscard]] std::vector<std::int64_t> leading_timesteps(const model::NoiseSchedule& schedule, std::int64_t steps,
                                                          std::int64_t stride, std::int64_t last = 0);

/// Noise over signal at a timestep.
[[nodiscard]] double sigma_of(const model::NoiseSchedule& schedule, std::int64_t timestep);

/// The clean latents that a prediction for signal * z + noise * e tells, and the noise; fp32.
struct Told {
  at::Tensor clean;
  at::Tensor noise;
};
[[nodiscard]] Told told_by(const std::string& prediction, const at::Tensor& latents, const at::Tensor& output,
                           double signal, double noise);

}  // namespace dormer::inference
