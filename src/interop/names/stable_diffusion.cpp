#include <array>

#include <fmt/format.h>

#include "names/name_rules.hpp"

namespace dormer::interop {
namespace {

void add_resnet(std::vector<NameRule>& rules, const std::string& hugging_face, const std::string& native) {
  constexpr std::array<std::array<const char*, 2>, 6> kParts{{{"norm1", "in_layers.0"},
                                                              {"conv1", "in_layers.2"},
                                                              {"time_emb_proj", "emb_layers.1"},
                                                              {"norm2", "out_layers.0"},
                                                              {"conv2", "out_layers.3"},
                                                              {"conv_shortcut", "skip_connection"}}};
  for (const auto& [ours, theirs] : kParts) {
    rules.push_back({{hugging_face + '.' + ours}, native + '.' + theirs});
  }
}

void add_attention(std::vector<NameRule>& rules, const UnetNames& unet, const std::string& hugging_face,
                   const std::string& native) {
  for (const std::string part : {"norm", "proj_in", "proj_out"}) {
    rules.push_back({{hugging_face + '.' + part}, native + '.' + part});
  }
  const std::string block = fmt::format(".transformer_blocks.{}.*", unet.transformer_block);
  rules.push_back({{hugging_face + block}, native + block});
}

void add_way_down(std::vector<NameRule>& rules, const UnetNames& unet) {
  for (int block = 0; block < unet.blocks; ++block) {
    const int first = 1 + block * (unet.layers + 1);
    for (int layer = 0; layer < unet.layers; ++layer) {
      add_resnet(rules, fmt::format("down_blocks.{}.resnets.{}", block, layer),
                 fmt::format("input_blocks.{}.0", first + layer));
      if (block >= unet.attention_first && block <= unet.attention_last) {
        add_attention(rules, unet, fmt::format("down_blocks.{}.attentions.{}", block, layer),
                      fmt::format("input_blocks.{}.1", first + layer));
      }
    }
    if (block + 1 < unet.blocks) {
      rules.push_back({{fmt::format("down_blocks.{}.downsamplers.0.conv", block)},
                       fmt::format("input_blocks.{}.0.op", first + unet.layers)});
    }
  }
}

void add_way_up(std::vector<NameRule>& rules, const UnetNames& unet) {
  for (int block = 0; block < unet.blocks; ++block) {
    const int first = block * (unet.layers + 1);
    const int mirrored = unet.blocks - 1 - block;
    const bool attends = mirrored >= unet.attention_first && mirrored <= unet.attention_last;
    for (int layer = 0; layer <= unet.layers; ++layer) {
      add_resnet(rules, fmt::format("up_blocks.{}.resnets.{}", block, layer),
                 fmt::format("output_blocks.{}.0", first + layer));
      if (attends) {
        add_attention(rules, unet, fmt::format("up_blocks.{}.attentions.{}", block, layer),
                      fmt::format("output_blocks.{}.1", first + layer));
      }
    }
    if (block + 1 < unet.blocks) {  // behind what else the last layer of the block has
      rules.push_back({{fmt::format("up_blocks.{}.upsamplers.0.conv", block)},
                       fmt::format("output_blocks.{}.{}.conv", first + unet.layers, attends ? 2 : 1)});
    }
  }
}

}  // namespace

std::vector<NameRule> unet_rules(const UnetNames& unet) {
  std::vector<NameRule> rules{{{"conv_in"}, "input_blocks.0.0"},
                              {{"time_embedding.linear_1"}, "time_embed.0"},
                              {{"time_embedding.linear_2"}, "time_embed.2"},
                              {{"conv_norm_out"}, "out.0"},
                              {{"conv_out"}, "out.2"}};
  add_way_down(rules, unet);
  add_resnet(rules, "mid_block.resnets.0", "middle_block.0");
  add_attention(rules, unet, "mid_block.attentions.0", "middle_block.1");
  add_resnet(rules, "mid_block.resnets.1", "middle_block.2");
  add_way_up(rules, unet);
  return rules;
}

std::vector<NameRule> stable_diffusion_1_rules() {
  return unet_rules({.blocks = 4, .attention_first = 0, .attention_last = 2, .transformer_block = "0"});
}

std::vector<NameRule> stable_diffusion_xl_rules() {
  std::vector<NameRule> rules =
      unet_rules({.blocks = 3, .attention_first = 1, .attention_last = 2, .transformer_block = "{}"});
  rules.push_back({{"add_embedding.linear_1"}, "label_emb.0.0"});
  rules.push_back({{"add_embedding.linear_2"}, "label_emb.0.2"});
  return rules;
}

}  // namespace dormer::interop
