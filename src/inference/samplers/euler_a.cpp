#include "inference/euler_sampler.hpp"

namespace dormer::inference::samplers {

SamplerFactory euler_a() {
  return [](const SamplerRequest& request) -> std::unique_ptr<ImageSampler> {
    return std::make_unique<EulerSampler>(request, /*ancestral=*/true);
  };
}

}  // namespace dormer::inference::samplers
