#include "sampler_steps.hpp"

#include <algorithm>
#include <cmath>

#include "dormer/core/error.hpp"

namespace dormer::inference {

namespace {

/// From the schedule's last step down by the same real number, so that the noisiest is always taken.
std::vector<double> trailing(std::int64_t all, std::int64_t steps) {
  const auto last = static_cast<double>(all);
  const double stride = (last - last / static_cast<double>(steps)) - last;  // as NumPy's arange counts
  std::vector<double> timesteps;
  for (std::int64_t step = 0; step < steps; ++step) {
    timesteps.push_back(std::max(std::nearbyint(last + static_cast<double>(step) * stride) - 1.0, 0.0));
  }
  return timesteps;
}

std::vector<double> linspace(std::int64_t all, std::int64_t steps, const Spread& spread) {
  const std::int64_t count = steps + (spread.leaves_least ? 1 : 0);
  const double stride = count == 1 ? 0.0 : static_cast<double>(all - 1) / static_cast<double>(count - 1);
  std::vector<double> timesteps;
  for (std::int64_t index = count - 1; index >= count - steps; --index) {
    const double exact = static_cast<double>(index) * stride;
    timesteps.push_back(spread.whole ? std::nearbyint(exact) : static_cast<double>(static_cast<float>(exact)));
  }
  return timesteps;
}

std::vector<double> leading(const SamplerRequest& request, const Spread& spread) {
  const std::int64_t all = request.schedule.steps();
  const std::int64_t left_out = spread.leaves_least ? 1 : 0;
  const std::int64_t stride = all / (request.steps + left_out);
  std::vector<double> timesteps;
  for (std::int64_t index = request.steps - 1; index >= 0; --index) {
    const std::int64_t timestep = (index + left_out) * stride + request.sampling.offset;
    timesteps.push_back(static_cast<double>(std::min(timestep, all - 1)));
  }
  return timesteps;
}

double sigma_at(const model::NoiseSchedule& schedule, std::int64_t step) {
  constexpr double kLeastSquaredSignal = 0x1p-24;
  return schedule.signal(step) > 0.0 ? schedule.noise(step) / schedule.signal(step)
                                     : std::sqrt((1.0 - kLeastSquaredSignal) / kLeastSquaredSignal);
}

}  // namespace

std::vector<double> spread_timesteps(const SamplerRequest& request, const Spread& spread) {
  const std::int64_t all = request.schedule.steps();
  require(request.steps >= 1 && request.steps < all, Fault::kUsage,
          "a sampler takes from 1 to {} steps of this model's schedule, not {}", all - 1, request.steps);
  const std::string& spacing = request.sampling.spacing;
  if (spacing == "trailing") {
    return trailing(all, request.steps);
  }
  if (spacing == "linspace") {
    return linspace(all, request.steps, spread);
  }
  invariant(spacing == "leading", "unknown spacing {}", spacing);
  return leading(request, spread);
}

double sigma_of(const model::NoiseSchedule& schedule, double timestep) {
  const double below = std::floor(timestep);
  const auto step = static_cast<std::int64_t>(below);
  const double sigma = sigma_at(schedule, step);
  return timestep == below ? sigma : sigma + (sigma_at(schedule, step + 1) - sigma) * (timestep - below);
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
