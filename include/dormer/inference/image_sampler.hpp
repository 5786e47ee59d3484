#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dormer/core/registry.hpp"
#include "dormer/model/noise_schedule.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::inference {

/// From noise to latents in a few steps of a denoiser: the numbers of one way to do it. Latents are fp32 on any device.
class ImageSampler {
 public:
  virtual ~ImageSampler() = default;
  [[nodiscard]] virtual std::int64_t steps() const = 0;
  /// What standard normal noise is multiplied with to begin.
  [[nodiscard]] virtual double initial_scale() const { return 1.0; }
  /// The timestep that the denoiser is told, and what latents are multiplied with for it, at this step (from 0).
  [[nodiscard]] virtual double timestep(std::int64_t step) const = 0;
  [[nodiscard]] virtual double input_scale(std::int64_t /*step*/) const { return 1.0; }
  /// Whether `advance` takes noise.
  [[nodiscard]] virtual bool takes_noise() const { return false; }
  /// The latents after this step, from the denoiser's prediction for them, and standard normal noise of their shape
  /// where it takes some. Steps go in order, each once.
  [[nodiscard]] virtual at::Tensor advance(std::int64_t step, const at::Tensor& latents, const at::Tensor& prediction,
                                           const at::Tensor& noise) = 0;
};

struct SamplerRequest {
  const model::NoiseSchedule& schedule;
  std::string prediction = "epsilon";  ///< epsilon | v_prediction | sample | flow
  std::int64_t steps = 20;
  model::SamplingFacts sampling{};
};

using SamplerFactory = std::unique_ptr<ImageSampler> (*)(const SamplerRequest& request);

/// All kinds by name: ddim, euler, euler_a, dpmpp_2m. Generated from the list in src/inference/CMakeLists.txt.
[[nodiscard]] Registry<SamplerFactory> image_samplers();

}  // namespace dormer::inference
