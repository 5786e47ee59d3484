#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "checkpoint/layout.hpp"
#include "dormer/core/error.hpp"

namespace dormer::interop {
namespace {

constexpr std::int64_t kClipHeadSize = 64;  // of every CLIP that these models have

Settings clip_config(std::int64_t vocabulary, std::int64_t width, std::int64_t inner, std::int64_t layers,
                     std::int64_t positions) {
  return {{"architectures", Settings::array({"CLIPTextModel"})},
          {"model_type", "clip_text_model"},
          {"vocab_size", vocabulary},
          {"hidden_size", width},
          {"intermediate_size", inner},
          {"num_hidden_layers", layers},
          {"num_attention_heads", std::max<std::int64_t>(width / kClipHeadSize, 1)},
          {"max_position_embeddings", positions},
          {"layer_norm_eps", 1e-5},
          {"bos_token_id", vocabulary - 2},
          {"eos_token_id", vocabulary - 1}};
}

/// What OpenCLIP calls a layer's modules; query, key and value are one.
constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kModules{
    {{"ln_1.", "layer_norm1."},
     {"ln_2.", "layer_norm2."},
     {"attn.out_proj.", "self_attn.out_proj."},
     {"mlp.c_fc.", "mlp.fc1."},
     {"mlp.c_proj.", "mlp.fc2."}}};

void add_layer_array(PartLayout& part, const std::string& array, const std::string& place, const std::string& rest,
                     const std::vector<std::int64_t>& shape) {
  for (const auto& [theirs, ours] : kModules) {
    if (rest.starts_with(theirs)) {
      part.arrays.push_back(
          {.name = place + std::string(ours) + rest.substr(theirs.size()), .file = {}, .array = array, .shape = shape});
      return;
    }
  }
  constexpr std::string_view kThree = "attn.in_proj_";
  require(rest.starts_with(kThree), Fault::kInput, "its array {} is not known here; name the model's folder", array);
  std::vector<std::string> names;
  for (const char* ours : {"self_attn.q_proj.", "self_attn.k_proj.", "self_attn.v_proj."}) {
    names.push_back(place + ours + rest.substr(kThree.size()));
  }
  add_thirds(part, names, array, shape);
}

}  // namespace

PartLayout clip_layout(const ArrayShapes& arrays, std::string folder, const std::string& prefix) {
  const std::string model = prefix + "text_model.";
  const std::string layers = model + "encoder.layers.";
  PartLayout part{
      .folder = std::move(folder),
      .stem = "model",
      .config = clip_config(arrays.size(model + "embeddings.token_embedding.weight", 0),
                            arrays.size(model + "embeddings.token_embedding.weight", 1),
                            arrays.size(layers + "0.mlp.fc1.weight", 0), arrays.count(layers, ".mlp.fc1.weight"),
                            arrays.size(model + "embeddings.position_embedding.weight", 0)),
      .arrays = {},
      .rearranged = {}};
  part.config["hidden_act"] = "quick_gelu";
  arrays.under(model, [&](const std::string& rest, const std::vector<std::int64_t>& shape) {
    if (!rest.ends_with("position_ids")) {
      part.arrays.push_back({.name = "text_model." + rest, .file = {}, .array = model + rest, .shape = shape});
    }
  });
  return part;
}

PartLayout projecting_clip_layout(const ArrayShapes& arrays, std::string folder, const std::string& prefix,
                                  ClipProjection projection) {
  PartLayout part = clip_layout(arrays, std::move(folder), prefix);
  const std::int64_t width = part.config.at("hidden_size");
  part.config["architectures"] = Settings::array({"CLIPTextModelWithProjection"});
  part.config["projection_dim"] = width;
  if (projection == ClipProjection::kIdentity) {
    part.rearranged.push_back({.how = Rearrangement::kIdentity,
                               .array = prefix + "text_model.embeddings.token_embedding.weight",
                               .name = "text_projection.weight"});
    return part;
  }
  const std::string array = prefix + "text_projection.weight";
  part.config["hidden_act"] = "gelu";
  part.config["projection_dim"] = arrays.size(array, 0);
  part.arrays.push_back({.name = "text_projection.weight",
                         .file = {},
                         .array = array,
                         .shape = {arrays.size(array, 0), arrays.size(array, 1)}});
  return part;
}

PartLayout open_clip_layout(const ArrayShapes& arrays, std::string folder, const std::string& prefix,
                            std::int64_t skipped) {
  const std::string blocks = prefix + "transformer.resblocks.";
  const std::int64_t layers = arrays.count(blocks, ".mlp.c_fc.weight") - skipped;
  PartLayout part{.folder = std::move(folder),
                  .stem = "model",
                  .config = clip_config(arrays.size(prefix + "token_embedding.weight", 0),
                                        arrays.size(prefix + "token_embedding.weight", 1),
                                        arrays.size(blocks + "0.mlp.c_fc.weight", 0), layers,
                                        arrays.size(prefix + "positional_embedding", 0)),
                  .arrays = {},
                  .rearranged = {}};
  part.config["hidden_act"] = "gelu";
  const auto whole = [&](const char* theirs, const char* ours) {
    std::vector<std::int64_t> shape;
    for (std::size_t dimension = 0; dimension < arrays.dimensions(prefix + theirs); ++dimension) {
      shape.push_back(arrays.size(prefix + theirs, dimension));
    }
    part.arrays.push_back({.name = ours, .file = {}, .array = prefix + theirs, .shape = shape});
  };
  whole("token_embedding.weight", "text_model.embeddings.token_embedding.weight");
  whole("positional_embedding", "text_model.embeddings.position_embedding.weight");
  whole("ln_final.weight", "text_model.final_layer_norm.weight");
  whole("ln_final.bias", "text_model.final_layer_norm.bias");
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    const std::string theirs = fmt::format("{}{}.", blocks, layer);
    arrays.under(theirs, [&](const std::string& rest, const std::vector<std::int64_t>& shape) {
      add_layer_array(part, theirs + rest, fmt::format("text_model.encoder.layers.{}.", layer), rest, shape);
    });
  }
  if (skipped == 0) {
    part.config["architectures"] = Settings::array({"CLIPTextModelWithProjection"});
    part.config["projection_dim"] = arrays.size(prefix + "text_projection", 1);
    part.rearranged.push_back(
        {.how = Rearrangement::kTransposed, .array = prefix + "text_projection", .name = "text_projection.weight"});
  }
  return part;
}

}  // namespace dormer::interop
