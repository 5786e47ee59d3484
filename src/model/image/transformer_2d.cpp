#include "transformer_2d.hpp"

#include <fmt/format.h>

#include <ATen/core/Tensor.h>

#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/operations.hpp"

namespace dormer::model {
namespace {

constexpr double kGroupEpsilon = 1e-6;
constexpr double kLayerEpsilon = 1e-5;

/// What the layers of one block are made of.
struct BlockBuilder {
  LayerBuilder& builder;
  std::string name;
  std::int64_t block;

  [[nodiscard]] std::size_t linear(const char* part, const char* group, std::int64_t out, std::int64_t in,
                                   bool bias) const {
    return builder.linear({name + part, group, block}, out, in, bias);
  }
  [[nodiscard]] ImageAttention attention(const std::string& part, std::int64_t width, std::int64_t source) const {
    return {linear((part + ".to_q").c_str(), "attention", width, width, false),
            linear((part + ".to_k").c_str(), "attention", width, source, false),
            linear((part + ".to_v").c_str(), "attention", width, source, false),
            linear((part + ".to_out.0").c_str(), "attention", width, width, true)};
  }
};

TransformerBlock load_block(const BlockBuilder& parts, const TransformerSizes& sizes) {
  constexpr std::int64_t kInner = 4;  // times the channels
  const std::int64_t width = sizes.channels;
  TransformerBlock block;
  block.self_norm = parts.builder.norm(parts.name + ".norm1", width, kLayerEpsilon);
  block.self = parts.attention(".attn1", width, width);
  block.cross_norm = parts.builder.norm(parts.name + ".norm2", width, kLayerEpsilon);
  block.cross = parts.attention(".attn2", width, sizes.text_width);
  block.mlp_norm = parts.builder.norm(parts.name + ".norm3", width, kLayerEpsilon);
  block.gate_up = parts.linear(".ff.net.0.proj", "mlp", 2 * kInner * width, width, true);
  block.down = parts.linear(".ff.net.2", "mlp", width, kInner * width, true);
  return block;
}

/// One pass through a transformer's blocks.
struct Pass {
  const Transformer2d& transformer;
  const LayerList& layers;
  const adapter::Pack& pack;
  std::int64_t samples;
  std::int64_t positions;

  [[nodiscard]] at::Tensor on(std::size_t place, const at::Tensor& x) const { return apply(layers, place, x, pack); }

  /// Keys and values have one source, of which a graph has two reads: backward, the key's comes first.
  [[nodiscard]] at::Tensor attend(const ImageAttention& part, const at::Tensor& x, const at::Tensor& key_source,
                                  const at::Tensor& value_source) const {
    const at::Tensor query = on(part.query, x);
    const at::Tensor value = on(part.value, value_source);
    const at::Tensor key = on(part.key, key_source);
    const at::Tensor mixed = tensor::attention(query, key, value,
                                               {.batch = samples,
                                                .queries = positions,
                                                .keys = key.size(0) / samples,
                                                .heads = transformer.heads,
                                                .width = query.size(1) / transformer.heads});
    return on(part.output, mixed);
  }

  [[nodiscard]] at::Tensor run(const TransformerBlock& block, const at::Tensor& x, const at::Tensor& key_text,
                               const at::Tensor& value_text) const {
    const at::Tensor own = tensor::layer_norm(x, block.self_norm.affine());
    const at::Tensor seen = tensor::add(x, attend(block.self, own, own, own));
    const at::Tensor normed = tensor::layer_norm(seen, block.cross_norm.affine());
    const at::Tensor told = tensor::add(seen, attend(block.cross, normed, key_text, value_text));
    const at::Tensor gated = tensor::gelu_gated(on(block.gate_up, tensor::layer_norm(told, block.mlp_norm.affine())));
    return tensor::add(told, on(block.down, gated));
  }
};

}  // namespace

Transformer2d load_transformer_2d(LayerBuilder& builder, const std::string& name, std::int64_t block,
                                  const TransformerSizes& sizes) {
  Transformer2d transformer;
  transformer.linear = sizes.linear;
  transformer.heads = sizes.heads;
  transformer.groups = sizes.groups;
  transformer.norm = builder.norm(name + ".norm", sizes.channels, kGroupEpsilon);
  const auto projection = [&](const char* part) {
    const LayerPlace place{name + part, "attention", block};
    return sizes.linear ? builder.linear(place, sizes.channels, sizes.channels)
                        : builder.convolution(place, sizes.channels, sizes.channels, {.size = 1, .padding = 0});
  };
  transformer.in = projection(".proj_in");
  for (std::int64_t index = 0; index < sizes.blocks; ++index) {
    transformer.blocks.push_back(
        load_block({builder, fmt::format("{}.transformer_blocks.{}", name, index), block}, sizes));
  }
  transformer.out = projection(".proj_out");
  return transformer;
}

at::Tensor run_transformer_2d(const Transformer2d& transformer, const LayerList& layers, const at::Tensor& x,
                              const at::Tensor& text, const adapter::Pack& pack, bool recompute) {
  const std::int64_t samples = x.size(0);
  const std::int64_t height = x.size(2);
  const std::int64_t width = x.size(3);
  const Pass pass{transformer, layers, pack, samples, height * width};
  const at::Tensor normed = tensor::group_norm(x, transformer.norm.affine(), transformer.groups, false);
  at::Tensor rows = transformer.linear ? pass.on(transformer.in, tensor::rows_of_image(normed))
                                       : tensor::rows_of_image(pass.on(transformer.in, normed));
  for (const TransformerBlock& block : transformer.blocks) {
    if (recompute) {
      const auto body = [&transformer, &layers, &block, pack, samples,
                         positions = height * width](const std::vector<at::Tensor>& inputs) {
        return Pass{transformer, layers, pack, samples, positions}.run(block, inputs[0], inputs[1], inputs[2]);
      };
      rows = tensor::recomputed({rows, text, text}, body);
    } else {
      rows = pass.run(block, rows, text, text);
    }
  }
  const at::Tensor image = transformer.linear
                               ? tensor::image_of_rows(pass.on(transformer.out, rows), samples, height, width)
                               : pass.on(transformer.out, tensor::image_of_rows(rows, samples, height, width));
  return tensor::add(x, image);
}

}  // namespace dormer::model
