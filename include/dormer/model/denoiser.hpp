#pragma once

#include <cstdint>
#include <string>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/core/dtype.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::model {

/// What every denoiser of latent images tells about itself.
struct DenoiserFacts {
  std::string family;                ///< "unet_2d_condition"
  std::int64_t latent_channels = 0;  ///< of its input
  std::int64_t out_channels = 0;
  std::int64_t text_width = 0;       ///< of a token's state
  std::int64_t empty_tokens = 0;     ///< rows of zeros after a narrower text, in the place of an encoder that is absent
  std::int64_t pooled_width = 0;     ///< of a text's one state; 0: it takes none
  std::int64_t size_numbers = 0;     ///< numbers that tell of size and crop (SDXL: 6); 0: it takes none
  std::int64_t latent_multiple = 1;  ///< height and width of latents are best multiples of this
  DType compute_dtype = DType::kF32;
};

/// What a prediction reads, on the model's device. All samples have one size.
struct DenoiserInput {
  const at::Tensor& latents;           ///< [samples, latent_channels, height, width], of any floating dtype
  const at::Tensor& timesteps;         ///< fp32 [samples], in steps of the noise schedule
  const at::Tensor& text;              ///< [samples, tokens, text_width], or narrower: filled up with zeros
  const at::Tensor* pooled = nullptr;  ///< [samples, pooled_width]
  const at::Tensor* sizes = nullptr;   ///< fp32 [samples, 6]: height and width of the picture, top and left of the
                                       ///< crop, height and width that are wanted, in pixels
  bool recompute_blocks = false;       ///< keep only the inputs of every block, and compute it again backward
};

/// The frozen network of a diffusion model that tells noise (or whatever the model predicts) from noisy latents.
/// Immutable after loading; its layers stand in the list of the model that it is a part of.
class Denoiser {
 public:
  virtual ~Denoiser() = default;
  [[nodiscard]] virtual const DenoiserFacts& facts() const = 0;
  /// [samples, out_channels, height, width] in the compute dtype.
  [[nodiscard]] virtual at::Tensor predict(const DenoiserInput& input, const adapter::Pack& pack) const = 0;
};

}  // namespace dormer::model
