#include "interop/checkpoint_arrays.hpp"

#include <set>
#include <string>

#include <gtest/gtest.h>

namespace dormer::interop {
namespace {

std::string place(std::string_view component, std::string_view array, const std::set<std::string>& names) {
  const auto found =
      place_in_checkpoint(component, array, [&](const std::string& name) { return names.contains(name); });
  return found ? found->name + (found->parts > 1 ? "/" + std::to_string(found->part) : "") : "none";
}

TEST(CheckpointArrays, PartsOfAModelLieUnderThePrefixThatTheFileHas) {
  const std::string unet = "input_blocks.1.1.proj_in.weight";
  EXPECT_EQ(place("unet", unet, {"model.diffusion_model." + unet}), "model.diffusion_model." + unet);
  EXPECT_EQ(place("transformer", "double_blocks.0.img_attn.qkv.weight", {"double_blocks.0.img_attn.qkv.weight"}),
            "double_blocks.0.img_attn.qkv.weight");
  EXPECT_EQ(place("", "model.layers.0.mlp.up_proj.weight", {"model.layers.0.mlp.up_proj.weight"}),
            "model.layers.0.mlp.up_proj.weight");
  const std::string clip = "text_model.encoder.layers.3.mlp.fc1.bias";
  for (const std::string prefix :
       {"cond_stage_model.transformer.", "conditioner.embedders.0.transformer.", "text_encoders.clip_l.transformer."}) {
    EXPECT_EQ(place("text_encoder", clip, {prefix + clip}), prefix + clip);
  }
  EXPECT_EQ(place("text_encoder_2", clip, {"text_encoders.clip_g.transformer." + clip}),
            "text_encoders.clip_g.transformer." + clip);
}

TEST(CheckpointArrays, OpenClipHasQueryKeyAndValueInOneArray) {
  const std::string layer = "conditioner.embedders.1.model.transformer.resblocks.11.";
  const std::set<std::string> names{layer + "attn.in_proj_weight", layer + "attn.in_proj_bias",
                                    layer + "attn.out_proj.weight", layer + "mlp.c_fc.weight",
                                    layer + "mlp.c_proj.bias"};
  const auto of = [&](const std::string& part) {
    return place("text_encoder_2", "text_model.encoder.layers.11." + part, names);
  };
  EXPECT_EQ(of("self_attn.q_proj.weight"), layer + "attn.in_proj_weight/0");
  EXPECT_EQ(of("self_attn.k_proj.bias"), layer + "attn.in_proj_bias/1");
  EXPECT_EQ(of("self_attn.v_proj.weight"), layer + "attn.in_proj_weight/2");
  EXPECT_EQ(of("self_attn.out_proj.weight"), layer + "attn.out_proj.weight");
  EXPECT_EQ(of("mlp.fc1.weight"), layer + "mlp.c_fc.weight");
  EXPECT_EQ(of("mlp.fc2.bias"), layer + "mlp.c_proj.bias");
}

TEST(CheckpointArrays, WhatTheFileDoesNotHaveHasNoPlace) {
  const std::string clip = "text_model.encoder.layers.0.self_attn.q_proj.weight";
  EXPECT_EQ(place("text_encoder", clip, {"conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight"}),
            "none");
  EXPECT_EQ(place("text_encoder_2", clip, {"cond_stage_model.transformer." + clip}), "none");
  EXPECT_EQ(place("unet", clip, {}), "none");
  EXPECT_EQ(place("text_encoder_2", "text_model.encoder.layers.", {}), "none");
}

}  // namespace
}  // namespace dormer::interop
