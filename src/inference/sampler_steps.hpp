#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "dormer/inference/image_sampler.hpp"

namespace dormer::inference {

/// How a sampler spreads its steps over the schedule, apart from the spacing.
struct Spread {
  bool whole = true;          ///< linspace: timesteps are rounded
  bool leaves_least = false;  ///< leading, linspace: of one step more than asked for the least noisy is left out
};

/// The timesteps of a request, the noisiest first, as diffusers' schedulers take them. Throws a usage error for no step
/// and for more than the schedule has.
[[nodiscard]] std::vector<double> spread_timesteps(const SamplerRequest& request, const Spread& spread);

/// Noise over signal at a timestep, between two of them on a line. Of a last step without signal it is that of half
/// precision's smallest number as squared signal, as diffusers has it.
[[nodiscard]] double sigma_of(const model::NoiseSchedule& schedule, double timestep);

/// The clean latents that a prediction for signal * z + noise * e tells, and the noise; fp32.
struct Told {
  at::Tensor clean;
  at::Tensor noise;
};
[[nodiscard]] Told told_by(const std::string& prediction, const at::Tensor& latents, const at::Tensor& output,
                           double signal, double noise);

}  // namespace dormer::inference
