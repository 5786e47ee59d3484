#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "inference/sampler_steps.hpp"

namespace dormer::inference {

/// Euler's method on the probability flow (Karras et al. 2022), where latents are z + sigma e: to the next sigma, or,
/// ancestral, below it and up again by fresh noise.
class EulerSampler final : public ImageSampler {
 public:
  EulerSampler(const SamplerRequest& request, bool ancestral);
  [[nodiscard]] std::int64_t steps() const override { return std::ssize(timesteps_); }
  [[nodiscard]] double initial_scale() const override;
  [[nodiscard]] double timestep(std::int64_t step) const override {
    return timesteps_.at(static_cast<std::size_t>(step));
  }
  [[nodiscard]] double input_scale(std::int64_t step) const override;
  [[nodiscard]] bool takes_noise() const override { return ancestral_; }
  [[nodiscard]] at::Tensor advance(std::int64_t step, const at::Tensor& latents, const at::Tensor& prediction,
                                   const at::Tensor& noise) override;

 private:
  std::string prediction_;
  bool ancestral_;
  bool leads_;
  std::vector<double> timesteps_;
  std::vector<double> sigmas_;  // [steps + 1], the last is 0
};

}  // namespace dormer::inference
