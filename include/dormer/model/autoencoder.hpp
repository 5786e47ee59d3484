#pragma once

#include <cstdint>
#include <string>

#include "dormer/core/dtype.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::model {

/// What an autoencoder of images tells about itself.
struct AutoencoderFacts {
  std::int64_t latent_channels = 4;
  std::int64_t downscale = 8;  ///< pixels along a side of one latent
  double scaling = 1.0;        ///< a denoiser's latents are (latent - shift) * scaling
  double shift = 0.0;
  DType compute_dtype = DType::kF32;
};

/// Between images and latents, frozen. Immutable after loading. Nothing is recorded.
class Autoencoder {
 public:
  virtual ~Autoencoder() = default;
  [[nodiscard]] virtual const AutoencoderFacts& facts() const = 0;
  /// Images [samples, 3, height, width] in [-1, 1], sides multiples of `downscale`, as the posterior's mean and
  /// logarithm of the variance (limited to [-30, 20]), before scaling: fp32 [samples, 2 * latent_channels, …].
  [[nodiscard]] virtual at::Tensor encode(const at::Tensor& images) const = 0;
  /// Latents fp32 [samples, latent_channels, …] before scaling as images fp32, not limited.
  [[nodiscard]] virtual at::Tensor decode(const at::Tensor& latents) const = 0;
};

}  // namespace dormer::model
