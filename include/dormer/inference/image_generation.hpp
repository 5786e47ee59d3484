#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/model/image_model.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::inference {

/// Which timesteps a sampler takes: auto, as the folder's scheduler says, or of `model::timestep_spacings`.
[[nodiscard]] std::vector<std::string> spacing_choices();

struct ImageRequest {
  const model::TextConditions& conditions;  ///< of the prompt, one text
  const model::TextConditions& negative;    ///< of what is led away from, in the same shapes
  std::int64_t width = 512;                 ///< pixels, a multiple of the autoencoder's downscale
  std::int64_t height = 512;
  std::int64_t steps = 20;
  std::string sampler = "euler";
  std::string spacing = "auto";  ///< of `spacing_choices`
  std::string prediction = "epsilon";
  double guidance = 7.5;   ///< of classifier-free guidance (Ho & Salimans 2022); 1: the prompt alone
  std::uint64_t seed = 0;  ///< of the noise that it begins with, and of a sampler's own
  bool zero_terminal_snr = false;
  std::function<bool()> goes_on{};  ///< asked after each step; false: no picture is made
};

/// fp32 [channels, height, width] on the host: the latents at the end, as the denoiser scales them; nothing where it
/// did not go on. Adapters may be null: the base alone. Usage errors for a size or a number of steps that the model
/// does not take.
[[nodiscard]] std::optional<at::Tensor> generate_latents(const model::ImageModel& model,
                                                         const adapter::AdapterSet* adapters,
                                                         const ImageRequest& request);

/// The picture of latents: fp32 [3, height, width] in [-1, 1], on the host.
[[nodiscard]] at::Tensor picture_of(const model::Autoencoder& autoencoder, const at::Tensor& latents);

}  // namespace dormer::inference
