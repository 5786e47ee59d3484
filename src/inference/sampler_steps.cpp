#include "sampler_steps.hpp"

#include <algorithm>

#include "dormer/core/error.hpp"

namespace dormer::inference {

std::vector<std::int64_t> leading_timesteps(const model::NoiseSchedule& schedule, std::int64_t steps,
                                            std::int64_t stride, std::int64_t last) {
  require(steps >= 1 && steps < schedule.steps(), Fault::kUsage,
          "a sampler takes from 1 to {} steps of this model's schedule, not {}", schedule.steps() - 1, steps);
  std::vector<std::int64_t> timesteps;
  for (std::int64_t index = steps - 1; index >= 0; --index) {
    timesteps.push_back(std::min((index + last) * stride + 1, schedule.steps() - 1));
  }
  return timesteps;
}

double sigma_of(const model::NoiseSchedule& schedule, std::int64_t timestep) {
  return schedule.noise(timestep) / schedule.signal(timestep);
}

Told told_by(const std::string& prediction, const at::Tensor& latents, const at::Tensor& output, double signal,
             double noise) {
  if (prediction == "epsilon") {
    return {latents.sub(output, noise).div_(signal), output};
  }
  if (prediction == "v_prediction") {
    return {latents.mul(signal).sub_(output, noise), output.mul(signal).add_(latents, noise)};
  }
  invariant(prediction == "sample", "unknown prediction {}", prediction);
  return {output, latents.sub(output, signal).div_(noise)};
}

}  // namespace dormer::inference
