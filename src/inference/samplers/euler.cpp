#include "inference/euler_sampler.hpp"
#include "inference/flow_euler_sampler.hpp"

namespace dormer::inference::samplers {

SamplerFactory euler() {
  return [](const SamplerRequest& request) -> std::unique_ptr<ImageSampler> {
    if (request.schedule.is_flow()) {
      return std::make_unique<FlowEulerSampler>(request);
    }
    return std::make_unique<EulerSampler>(request, /*ancestral=*/false);
  };
}

}  // namespace dormer::inference::samplers
