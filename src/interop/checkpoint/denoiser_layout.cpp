#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "checkpoint/layout.hpp"
#include "dormer/core/error.hpp"
#include "names/name_rules.hpp"

namespace dormer::interop {
namespace {

constexpr const char* kDenoiser = "model.diffusion_model.";
constexpr std::int64_t kHeadSize = 64;     // of models whose projections are linear layers
constexpr std::int64_t kHeads = 8;         // of those where they are convolutions
constexpr std::int64_t kSizeNumber = 256;  // width of each of the six numbers that XL is told

struct UnetBlock {
  std::int64_t channels = 0;
  int layers = 0;
  std::int64_t transformer_blocks = 0;  // 0: it does not attend
};

std::int64_t transformer_blocks(const ArrayShapes& arrays, const std::string& attention) {
  return arrays.count(attention + "transformer_blocks.", ".norm1.weight");
}

/// The blocks on the way down; the last of them with the depth of the middle, which diffusers takes from there.
std::vector<UnetBlock> blocks_of(const ArrayShapes& arrays) {
  std::vector<UnetBlock> blocks(1);
  for (int number = 1;; ++number) {
    const std::string begin = fmt::format("{}input_blocks.{}.", kDenoiser, number);
    if (arrays.has(begin + "0.op.weight")) {
      blocks.emplace_back();
      continue;
    }
    if (!arrays.has(begin + "0.in_layers.0.weight")) {
      break;
    }
    blocks.back().channels = arrays.size(begin + "0.out_layers.3.weight", 0);
    blocks.back().transformer_blocks = transformer_blocks(arrays, begin + "1.");
    ++blocks.back().layers;
  }
  return blocks;
}

/// The rules' names, if the model is of the one form that they have: as many layers in every block, those that attend
/// side by side.
UnetNames names_of(const std::vector<UnetBlock>& blocks) {
  const auto attends = [](const UnetBlock& block) { return block.transformer_blocks > 0; };
  const auto first = std::ranges::find_if(blocks, attends);
  const auto end = std::find_if_not(first, blocks.end(), attends);
  require(first != blocks.end() && std::none_of(end, blocks.end(), attends) &&
              std::ranges::all_of(
                  blocks, [&](const UnetBlock& block) { return block.layers == blocks[0].layers && block.layers > 0; }),
          Fault::kInput, "its denoiser is built in another way than Stable Diffusion 1.x, 2.x and XL; name its folder");
  return {.blocks = static_cast<int>(blocks.size()),
          .layers = blocks[0].layers,
          .attention_first = static_cast<int>(first - blocks.begin()),
          .attention_last = static_cast<int>(end - blocks.begin()) - 1,
          .transformer_block = "{}"};
}

Settings config_of(const ArrayShapes& arrays, std::vector<UnetBlock> blocks) {
  const auto attends = [](const UnetBlock& block) { return block.transformer_blocks > 0; };
  const UnetBlock& attending = *std::ranges::find_if(blocks, attends);
  const auto number = static_cast<int>(&attending - blocks.data());
  const std::string attention = fmt::format("{}input_blocks.{}.1.", kDenoiser, 1 + number * (blocks[0].layers + 1));
  const bool linear = arrays.dimensions(attention + "proj_in.weight") == 2;
  Settings config{{"_class_name", "UNet2DConditionModel"}, {"sample_size", linear ? 128 : 64}};
  Settings channels = Settings::array();
  Settings heads = Settings::array();
  Settings depths = Settings::array();
  Settings down = Settings::array();
  Settings up = Settings::array();
  const std::int64_t middle = transformer_blocks(arrays, std::string(kDenoiser) + "middle_block.1.");
  for (std::size_t index = 0; index < blocks.size(); ++index) {
    const UnetBlock& block = blocks[index];
    channels.push_back(block.channels);
    heads.push_back(linear ? std::max<std::int64_t>(block.channels / kHeadSize, 1) : kHeads);
    depths.push_back(attends(block) ? block.transformer_blocks : index + 1 == blocks.size() ? middle : 1);
    down.push_back(attends(block) ? "CrossAttnDownBlock2D" : "DownBlock2D");
    up.insert(up.begin(), attends(block) ? "CrossAttnUpBlock2D" : "UpBlock2D");
  }
  config["in_channels"] = arrays.size(std::string(kDenoiser) + "input_blocks.0.0.weight", 1);
  config["out_channels"] = arrays.size(std::string(kDenoiser) + "out.2.weight", 0);
  config["block_out_channels"] = channels;
  config["layers_per_block"] = blocks[0].layers;
  config["down_block_types"] = down;
  config["up_block_types"] = up;
  config["attention_head_dim"] = heads;
  config["transformer_layers_per_block"] = depths;
  config["cross_attention_dim"] = arrays.size(attention + "transformer_blocks.0.attn2.to_k.weight", 1);
  config["use_linear_projection"] = linear;
  if (arrays.has(std::string(kDenoiser) + "label_emb.0.0.weight")) {
    config["addition_embed_type"] = "text_time";
    config["addition_time_embed_dim"] = kSizeNumber;
    config["projection_class_embeddings_input_dim"] = arrays.size(std::string(kDenoiser) + "label_emb.0.0.weight", 1);
  }
  return config;
}

/// "input_blocks.1.0.in_layers.2.weight" as diffusers has it.
std::optional<std::string> renamed_array(const std::vector<NameRule>& rules, const std::string& array) {
  const std::size_t dot = array.rfind('.');
  if (dot == std::string::npos) {
    return std::nullopt;
  }
  const std::optional<RuleMatch> match = find_rule(rules, std::string_view(array).substr(0, dot));
  if (!match || !match->native) {
    return std::nullopt;
  }
  return filled(match->rule->hugging_face.front(), match->captures) + array.substr(dot);
}

}  // namespace

PartLayout denoiser_layout(const ArrayShapes& arrays) {
  const std::vector<UnetBlock> blocks = blocks_of(arrays);
  std::vector<NameRule> rules = unet_rules(names_of(blocks));
  rules.push_back({{"add_embedding.linear_1"}, "label_emb.0.0"});
  rules.push_back({{"add_embedding.linear_2"}, "label_emb.0.2"});
  PartLayout part{.folder = "unet",
                  .stem = "diffusion_pytorch_model",
                  .config = config_of(arrays, blocks),
                  .arrays = {},
                  .rearranged = {}};
  arrays.under(kDenoiser, [&](const std::string& array, const std::vector<std::int64_t>& shape) {
    const std::optional<std::string> name = renamed_array(rules, array);
    require(name.has_value(), Fault::kInput, "its array {}{} is not known here; name the model's folder", kDenoiser,
            array);
    part.arrays.push_back({.name = *name, .file = {}, .array = kDenoiser + array, .shape = shape});
  });
  return part;
}

}  // namespace dormer::interop
