#include "names/name_rules.hpp"

namespace dormer::interop {

std::vector<NameRule> flux_rules() {
  using enum Difference;
  const std::string ours = "transformer_blocks.{}.";
  const std::string native = "double_blocks.{}.";
  const std::string our_single = "single_transformer_blocks.{}.";
  const std::string single = "single_blocks.{}.";
  return {
      {{"x_embedder"}, "img_in"},
      {{"context_embedder"}, "txt_in"},
      {{"time_text_embed.timestep_embedder.linear_1"}, "time_in.in_layer"},
      {{"time_text_embed.timestep_embedder.linear_2"}, "time_in.out_layer"},
      {{"time_text_embed.text_embedder.linear_1"}, "vector_in.in_layer"},
      {{"time_text_embed.text_embedder.linear_2"}, "vector_in.out_layer"},
      {{"time_text_embed.guidance_embedder.linear_1"}, "guidance_in.in_layer"},
      {{"time_text_embed.guidance_embedder.linear_2"}, "guidance_in.out_layer"},
      {{ours + "attn.to_q", ours + "attn.to_k", ours + "attn.to_v"}, native + "img_attn.qkv", kThirds},
      {{ours + "attn.to_out.0"}, native + "img_attn.proj"},
      {{ours + "attn.norm_q"}, native + "img_attn.norm.query_norm"},
      {{ours + "attn.norm_k"}, native + "img_attn.norm.key_norm"},
      {{ours + "attn.add_q_proj", ours + "attn.add_k_proj", ours + "attn.add_v_proj"},
       native + "txt_attn.qkv",
       kThirds},
      {{ours + "attn.to_add_out"}, native + "txt_attn.proj"},
      {{ours + "attn.norm_added_q"}, native + "txt_attn.norm.query_norm"},
      {{ours + "attn.norm_added_k"}, native + "txt_attn.norm.key_norm"},
      {{ours + "norm1.linear"}, native + "img_mod.lin"},
      {{ours + "norm1_context.linear"}, native + "txt_mod.lin"},
      {{ours + "ff.net.0.proj"}, native + "img_mlp.0"},
      {{ours + "ff.net.2"}, native + "img_mlp.2"},
      {{ours + "ff_context.net.0.proj"}, native + "txt_mlp.0"},
      {{ours + "ff_context.net.2"}, native + "txt_mlp.2"},
      {{our_single + "attn.to_q", our_single + "attn.to_k", our_single + "attn.to_v", our_single + "proj_mlp"},
       single + "linear1",
       kThirdsAndRest},
      {{our_single + "proj_out"}, single + "linear2"},
      {{our_single + "attn.norm_q"}, single + "norm.query_norm"},
      {{our_single + "attn.norm_k"}, single + "norm.key_norm"},
      {{our_single + "norm.linear"}, single + "modulation.lin"},
      {{"norm_out.linear"}, "final_layer.adaLN_modulation.1", kHalvesSwapped},
      {{"proj_out"}, "final_layer.linear"},
  };
}

}  // namespace dormer::interop
