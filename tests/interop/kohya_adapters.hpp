#pragma once

#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "dormer/core/error.hpp"
#include "dormer/core/random_key.hpp"
#include "dormer/interop/adapter_format.hpp"
#include "dormer/interop/consumer.hpp"
#include "dormer/storage/safetensors.hpp"

namespace dormer::interop::kohya_files {

using Shape = std::vector<std::int64_t>;

inline std::vector<float> values_of(std::int64_t count, std::uint64_t seed) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < count; ++i) {
    values.push_back(to_uniform(philox(RandomKey{seed}, static_cast<std::uint64_t>(i))[0]) - 0.5F);
  }
  return values;
}

inline std::int64_t count_of(const Shape& shape) {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

inline StoredArray array(const Shape& shape, std::uint64_t seed) {
  return {.shape = shape, .values = values_of(count_of(shape), seed)};
}

struct LayerCase {
  std::string name;  ///< after the component
  std::string kind;
  std::map<std::string, Shape> factors;
  std::int64_t rank = 0;
  std::size_t kernel_axes = 0;
  std::int64_t out = 0;
  std::int64_t channels = 0;
};

/// Every kind of tensor that the form has, on layers of Stable Diffusion 1.x. No two sizes of one layer are alike.
inline const std::vector<LayerCase>& layer_cases() {
  static const std::vector<LayerCase> cases{
      {"attentions.0.transformer_blocks.0.attn1.to_q",
       "lora",
       {{"lora_A", {4, 20}}, {"lora_B", {24, 4}}},
       4,
       0,
       24,
       20},
      {"resnets.0.conv1", "locon", {{"lora_A", {5, 6, 3, 2}}, {"lora_B", {8, 5}}}, 5, 2, 8, 6},
      {"attentions.0.proj_in", "locon", {{"lora_A", {4, 7, 1, 1}}, {"lora_B", {9, 4}}}, 4, 2, 9, 7},
      {"resnets.0.conv2", "locon", {{"lora_A", {3, 6}}, {"lora_mid", {3, 3, 3, 2}}, {"lora_B", {8, 3}}}, 3, 2, 8, 6},
      {"attentions.0.transformer_blocks.0.attn1.to_k",
       "loha",
       {{"hada_w1_a", {24, 4}}, {"hada_w1_b", {4, 20}}, {"hada_w2_a", {24, 4}}, {"hada_w2_b", {4, 20}}},
       4,
       0,
       24,
       20},
      {"resnets.1.conv1",
       "loha",
       {{"hada_w1_a", {8, 4}}, {"hada_w1_b", {4, 36}}, {"hada_w2_a", {8, 4}}, {"hada_w2_b", {4, 36}}},
       4,
       2,
       8,
       6},
      {"resnets.1.conv2",
       "loha",
       {{"hada_t1", {4, 4, 3, 2}},
        {"hada_w1_a", {4, 8}},
        {"hada_w1_b", {4, 6}},
        {"hada_t2", {4, 4, 3, 2}},
        {"hada_w2_a", {4, 8}},
        {"hada_w2_b", {4, 6}}},
       4,
       2,
       8,
       6},
      {"attentions.0.transformer_blocks.0.attn1.to_v",
       "lokr",
       {{"lokr_w1", {4, 2}}, {"lokr_w2", {6, 10}}},
       0,
       0,
       24,
       20},
      {"attentions.0.transformer_blocks.0.attn2.to_q",
       "lokr",
       {{"lokr_w1", {4, 2}}, {"lokr_w2_a", {6, 3}}, {"lokr_w2_b", {3, 10}}},
       3,
       0,
       24,
       20},
      {"attentions.0.transformer_blocks.0.attn2.to_k",
       "lokr",
       {{"lokr_w1_a", {4, 5}}, {"lokr_w1_b", {5, 2}}, {"lokr_w2_a", {6, 5}}, {"lokr_w2_b", {5, 10}}},
       5,
       0,
       24,
       20},
      {"downsamplers.0.conv", "lokr", {{"lokr_w1", {2, 3}}, {"lokr_w2", {4, 2, 3, 2}}}, 0, 2, 8, 6},
      {"resnets.0.conv_shortcut",
       "lokr",
       {{"lokr_w1", {2, 3}}, {"lokr_t2", {4, 4, 3, 2}}, {"lokr_w2_a", {4, 4}}, {"lokr_w2_b", {4, 2}}},
       4,
       2,
       8,
       6},
  };
  return cases;
}

inline StoredLayer layer_of(const LayerCase& wanted, std::uint64_t seed, std::optional<adapter::Axis> axis = {}) {
  StoredLayer layer;
  layer.kind = wanted.kind;
  layer.rank = wanted.rank;
  layer.kernel_axes = wanted.kernel_axes;
  for (const auto& [factor, shape] : wanted.factors) {
    layer.factors[factor] = array(shape, seed++);
  }
  if (wanted.rank > 0) {
    layer.alpha = 7.0;
    layer.scale = 7.0 / static_cast<double>(wanted.rank);
  }
  if (axis) {
    layer.axis = axis;
    layer.magnitude = values_of(*axis == adapter::Axis::kOutput ? wanted.out : wanted.channels, seed);
  }
  return layer;
}

inline StoredAdapter adapter_of(std::optional<adapter::Axis> axis = {}) {
  StoredAdapter adapter{.family = ModelFamily::kSd1};
  std::uint64_t seed = 100;
  for (const LayerCase& wanted : layer_cases()) {
    adapter.layers["unet.down_blocks.1." + wanted.name] = layer_of(wanted, seed += 100, axis);
  }
  return adapter;
}

/// Of Stable Diffusion XL, in the names of diffusers.
inline StoredAdapter xl_adapter(std::optional<adapter::Axis> axis = {}) {
  StoredAdapter adapter{.family = ModelFamily::kSdxl};
  const LayerCase& wanted = layer_cases().front();
  adapter.layers["unet.down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q"] = layer_of(wanted, 100, axis);
  adapter.layers["unet.up_blocks.0.attentions.2.transformer_blocks.9.attn2.to_out.0"] = layer_of(wanted, 200, axis);
  adapter.layers["text_encoder.text_model.encoder.layers.0.self_attn.q_proj"] = layer_of(wanted, 300, axis);
  adapter.layers["text_encoder_2.text_model.encoder.layers.31.self_attn.q_proj"] = layer_of(wanted, 400, axis);
  return adapter;
}

}  // namespace dormer::interop::kohya_files
