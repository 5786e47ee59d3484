#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "layer_builder.hpp"

namespace dormer::model {

/// Two 3x3 convolutions, each after GroupNorm and SiLU, beside the input (He et al. 2016, as diffusion models have it);
/// between them the embedded timestep is added.
struct Resnet {
  Norm first_norm;
  std::size_t first = 0;
  std::optional<std::size_t> time;  ///< absent: of an autoencoder
  Norm second_norm;
  std::size_t second = 0;
  std::optional<std::size_t> shortcut;  ///< where the channels change
  std::int64_t groups = 32;
};

struct ResnetSizes {
  std::int64_t in = 0;
  std::int64_t out = 0;
  std::int64_t time = 0;  ///< width of the embedded timestep; 0: none
  std::int64_t groups = 32;
  double epsilon = 1e-5;
};

/// `name` is the module path of the block: its layers are NAME.conv1, NAME.time_emb_proj, ….
[[nodiscard]] Resnet load_resnet(LayerBuilder& builder, const std::string& name, std::int64_t block,
                                 const ResnetSizes& sizes);

/// x [samples, in, height, width]; `time` [samples, width] is SiLU of the embedded timestep (or undefined).
[[nodiscard]] at::Tensor run_resnet(const Resnet& resnet, const LayerList& layers, const at::Tensor& x,
                                    const at::Tensor& time, const adapter::Pack& pack);
/// The same, of which only x and time are kept, with the same bits. Both outlive the backward pass.
[[nodiscard]] at::Tensor run_resnet_again(const Resnet& resnet, const LayerList& layers, const at::Tensor& x,
                                          const at::Tensor& time, const adapter::Pack& pack);
/// The same of x and what was skipped, side by side, which is not kept either.
[[nodiscard]] at::Tensor run_resnet_again(const Resnet& resnet, const LayerList& layers, const at::Tensor& x,
                                          const at::Tensor& skipped, const at::Tensor& time, const adapter::Pack& pack);

/// Twice the height and width (or exactly these), by repeating pixels.
[[nodiscard]] at::Tensor enlarged(const at::Tensor& image, std::int64_t height, std::int64_t width);

}  // namespace dormer::model
