#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "layer_builder.hpp"

namespace dormer::model {

/// One attention: of image positions over themselves, or over a text.
struct ImageAttention {
  std::size_t query = 0;
  std::size_t key = 0;
  std::size_t value = 0;
  std::size_t output = 0;
};

struct TransformerBlock {
  Norm self_norm;
  ImageAttention self;
  Norm cross_norm;
  ImageAttention cross;
  Norm mlp_norm;
  std::size_t gate_up = 0;  ///< GeGLU's fused projection
  std::size_t down = 0;
};

/// The transformer of one place of a UNet (Rombach et al. 2022): positions of the image attend to each other, then to
/// the text, then pass a gated MLP; beside the input.
struct Transformer2d {
  Norm norm;
  std::size_t in = 0;
  std::vector<TransformerBlock> blocks;
  std::size_t out = 0;
  bool linear = false;  ///< `in` and `out` are linear layers, else convolutions of one tap
  std::int64_t heads = 1;
  std::int64_t groups = 32;
};

struct TransformerSizes {
  std::int64_t channels = 0;
  std::int64_t heads = 1;
  std::int64_t blocks = 1;
  std::int64_t text_width = 0;
  std::int64_t groups = 32;
  bool linear = false;
};

[[nodiscard]] Transformer2d load_transformer_2d(LayerBuilder& builder, const std::string& name, std::int64_t block,
                                                const TransformerSizes& sizes);

/// x [samples, channels, height, width], text [samples * tokens, text_width]. With `recompute`, of every block only its
/// inputs are kept, with the same bits; transformer and layers outlive the backward pass.
[[nodiscard]] at::Tensor run_transformer_2d(const Transformer2d& transformer, const LayerList& layers,
                                            const at::Tensor& x, const at::Tensor& text, const adapter::Pack& pack,
                                            bool recompute = false);

}  // namespace dormer::model
