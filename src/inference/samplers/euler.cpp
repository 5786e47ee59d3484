#include "inference/euler_sampler.hpp"

namespace dormer::inference::samplers {

SamplerFactory euler() {
  return [](const SamplerRequest& request) -> std::unique_ptr<ImageSampler> {
    return std::make_unique<EulerSampler>(request, /*ancestral=*/false);
  };
}

}  // namespace dormer::inference::samplers
