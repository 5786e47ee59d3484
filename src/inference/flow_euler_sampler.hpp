#pragma once

#include <vector>

#include "dormer/inference/image_sampler.hpp"

namespace dormer::inference {

/// Euler's method along the velocity of rectified flow, with the amounts of noise of diffusers'
/// FlowMatchEulerDiscreteScheduler: evenly between the schedule's ends, shifted once more, then none.
class FlowEulerSampler final : public ImageSampler {
 public:
  explicit FlowEulerSampler(const SamplerRequest& request);
  [[nodiscard]] std::int64_t steps() const override { return static_cast<std::int64_t>(noise_.size()) - 1; }
  [[nodiscard]] double timestep(std::int64_t step) const override;
  [[nodiscard]] at::Tensor advance(std::int64_t step, const at::Tensor& latents, const at::Tensor& prediction,
                                   const at::Tensor& noise) override;

 private:
  std::vector<double> noise_;  // before each step, and after the last
  double told_ = 1000.0;
};

}  // namespace dormer::inference
