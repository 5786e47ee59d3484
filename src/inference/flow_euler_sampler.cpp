#include "inference/flow_euler_sampler.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/add.h>

namespace dormer::inference {

FlowEulerSampler::FlowEulerSampler(const SamplerRequest& request)
    : told_(static_cast<double>(request.schedule.steps())) {
  const model::NoiseSchedule& schedule = request.schedule;
  const double most = schedule.noise(schedule.steps() - 1);
  const double least = schedule.noise(0);
  for (std::int64_t step = 0; step < request.steps; ++step) {
    const double share = request.steps == 1 ? 0.0 : static_cast<double>(step) / static_cast<double>(request.steps - 1);
    const double plain = most + (least - most) * share;
    noise_.push_back(schedule.shift() * plain / (1.0 + (schedule.shift() - 1.0) * plain));
  }
  noise_.push_back(0.0);
}

double FlowEulerSampler::timestep(std::int64_t step) const {
  return noise_.at(static_cast<std::size_t>(step)) * told_;
}

at::Tensor FlowEulerSampler::advance(std::int64_t step, const at::Tensor& latents, const at::Tensor& prediction,
                                     const at::Tensor& /*noise*/) {
  const auto place = static_cast<std::size_t>(step);
  return at::add(latents, prediction, noise_.at(place + 1) - noise_.at(place));
}

}  // namespace dormer::inference
