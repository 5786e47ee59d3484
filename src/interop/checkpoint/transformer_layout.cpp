#include <cmath>
#include <optional>
#include <string_view>

#include <fmt/format.h>

#include "checkpoint/layout.hpp"
#include "dormer/core/error.hpp"
#include "names/name_rules.hpp"

namespace dormer::interop {
namespace {

constexpr const char* kTransformer = "model.diffusion_model.";
constexpr std::int64_t kHeadWidth = 64;  // of the released models; norms of the heads tell it, too

std::string in_file(const std::string& name) {
  return kTransformer + name;
}

Settings transformer_config(const ArrayShapes& arrays) {
  const std::int64_t width = arrays.size(in_file("x_embedder.proj.weight"), 0);
  const std::int64_t patch = arrays.size(in_file("x_embedder.proj.weight"), 2);
  const std::int64_t blocks = arrays.count(in_file("joint_blocks."), ".x_block.attn.qkv.weight");
  const std::string head_norm = in_file("joint_blocks.0.x_block.attn.ln_q.weight");
  const std::int64_t head_width = arrays.has(head_norm) ? arrays.size(head_norm, 0) : kHeadWidth;
  require(patch > 0 && head_width > 0 && width % head_width == 0, Fault::kInput,
          "its array {} is {} wide, which are no heads of {}; name the model's folder",
          in_file("x_embedder.proj.weight"), width, head_width);
  const std::int64_t positions = arrays.size(in_file("pos_embed"), 1);
  Settings dual = Settings::array();
  for (std::int64_t block = 0; block < blocks; ++block) {
    if (arrays.has(in_file(fmt::format("joint_blocks.{}.x_block.attn2.qkv.weight", block)))) {
      dual.push_back(block);
    }
  }
  Settings config{{"_class_name", "SD3Transformer2DModel"},
                  {"sample_size", 128},
                  {"patch_size", patch},
                  {"in_channels", arrays.size(in_file("x_embedder.proj.weight"), 1)},
                  {"out_channels", arrays.size(in_file("final_layer.linear.weight"), 0) / (patch * patch)},
                  {"num_layers", blocks},
                  {"attention_head_dim", head_width},
                  {"num_attention_heads", width / head_width},
                  {"joint_attention_dim", arrays.size(in_file("context_embedder.weight"), 1)},
                  {"caption_projection_dim", arrays.size(in_file("context_embedder.weight"), 0)},
                  {"pooled_projection_dim", arrays.size(in_file("y_embedder.mlp.0.weight"), 1)},
                  {"pos_embed_max_size", std::llround(std::sqrt(static_cast<double>(positions)))},
                  {"dual_attention_layers", dual}};
  if (arrays.has(head_norm)) {
    config["qk_norm"] = "rms_norm";
  }
  return config;
}

/// Whether the halves of this layer's rows stand the other way round in diffusers.
bool swaps(const ArrayShapes& arrays, Difference difference, const std::string& module) {
  const std::string weight = in_file(module + ".weight");
  return difference == Difference::kHalvesSwapped ||
         (difference == Difference::kHalvesSwappedIfTwo && arrays.size(weight, 0) == 2 * arrays.size(weight, 1));
}

}  // namespace

PartLayout transformer_layout(const ArrayShapes& arrays) {
  const std::vector<NameRule> rules = stable_diffusion_3_rules();
  PartLayout part{.folder = "transformer",
                  .stem = "diffusion_pytorch_model",
                  .config = transformer_config(arrays),
                  .arrays = {},
                  .rearranged = {}};
  arrays.under(kTransformer, [&](const std::string& rest, const std::vector<std::int64_t>& shape) {
    const std::string array = in_file(rest);
    if (rest == "pos_embed") {
      part.arrays.push_back({.name = "pos_embed.pos_embed", .file = {}, .array = array, .shape = shape});
      return;
    }
    const std::size_t dot = rest.rfind('.');
    const std::string module = rest.substr(0, dot);
    const std::optional<RuleMatch> match = dot == std::string::npos ? std::nullopt : find_rule(rules, module);
    require(match && match->native, Fault::kInput, "its array {} is not known here; name the model's folder", array);
    const std::string end = rest.substr(dot);
    if (match->rule->difference == Difference::kThirds) {
      std::vector<std::string> names;
      for (const std::string& layer : match->rule->hugging_face) {
        names.push_back(filled(layer, match->captures) + end);
      }
      add_thirds(part, names, array, shape);
      return;
    }
    const std::string name = filled(match->rule->hugging_face.front(), match->captures) + end;
    if (swaps(arrays, match->rule->difference, module)) {
      part.rearranged.push_back({.how = Rearrangement::kHalvesSwapped, .array = array, .name = name});
    } else {
      part.arrays.push_back({.name = name, .file = {}, .array = array, .shape = shape});
    }
  });
  return part;
}

}  // namespace dormer::interop
