#include "euler_sampler.hpp"

#include <cmath>

namespace dormer::inference {

EulerSampler::EulerSampler(const SamplerRequest& request, bool ancestral)
    : prediction_(request.prediction),
      ancestral_(ancestral),
      leads_(request.sampling.spacing == "leading"),
      timesteps_(spread_timesteps(request, {.whole = false})) {
  for (const double timestep : timesteps_) {
    sigmas_.push_back(sigma_of(request.schedule, timestep));
  }
  sigmas_.push_back(0.0);
}

double EulerSampler::initial_scale() const {
  // Leading timesteps begin below the last, whose noise then stands for latents with some signal.
  return leads_ ? std::sqrt(sigmas_.front() * sigmas_.front() + 1.0) : sigmas_.front();
}

double EulerSampler::input_scale(std::int64_t step) const {
  const double sigma = sigmas_.at(static_cast<std::size_t>(step));
  return 1.0 / std::sqrt(sigma * sigma + 1.0);
}

at::Tensor EulerSampler::advance(std::int64_t step, const at::Tensor& latents, const at::Tensor& prediction,
                                 const at::Tensor& noise) {
  const double sigma = sigmas_.at(static_cast<std::size_t>(step));
  const double next = sigmas_.at(static_cast<std::size_t>(step) + 1);
  const double signal = input_scale(step);
  const Told told = told_by(prediction_, latents.mul(signal), prediction, signal, sigma * signal);
  const at::Tensor slope = latents.sub(told.clean).div_(sigma);
  if (!ancestral_) {
    return latents.add(slope, next - sigma);
  }
  const double up = std::sqrt(next * next * (sigma * sigma - next * next) / (sigma * sigma));
  const double down = std::sqrt(next * next - up * up);
  at::Tensor result = latents.add(slope, down - sigma);
  return up > 0.0 ? result.add_(noise, up) : result;
}

}  // namespace dormer::inference
