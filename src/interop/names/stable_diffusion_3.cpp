#include "names/name_rules.hpp"

namespace dormer::interop {

std::vector<NameRule> stable_diffusion_3_rules() {
  using enum Difference;
  const std::string ours = "transformer_blocks.{}.";
  const std::string image = "joint_blocks.{}.x_block.";
  const std::string text = "joint_blocks.{}.context_block.";
  return {
      {{"pos_embed.proj"}, "x_embedder.proj"},
      {{"time_text_embed.timestep_embedder.linear_1"}, "t_embedder.mlp.0"},
      {{"time_text_embed.timestep_embedder.linear_2"}, "t_embedder.mlp.2"},
      {{"time_text_embed.text_embedder.linear_1"}, "y_embedder.mlp.0"},
      {{"time_text_embed.text_embedder.linear_2"}, "y_embedder.mlp.2"},
      {{"context_embedder"}, "context_embedder"},
      {{ours + "attn.to_q", ours + "attn.to_k", ours + "attn.to_v"}, image + "attn.qkv", kThirds},
      {{ours + "attn.to_out.0"}, image + "attn.proj"},
      {{ours + "attn.norm_q"}, image + "attn.ln_q"},
      {{ours + "attn.norm_k"}, image + "attn.ln_k"},
      {{ours + "attn.add_q_proj", ours + "attn.add_k_proj", ours + "attn.add_v_proj"}, text + "attn.qkv", kThirds},
      {{ours + "attn.to_add_out"}, text + "attn.proj"},
      {{ours + "attn.norm_added_q"}, text + "attn.ln_q"},
      {{ours + "attn.norm_added_k"}, text + "attn.ln_k"},
      {{ours + "attn2.to_q", ours + "attn2.to_k", ours + "attn2.to_v"}, image + "attn2.qkv", kThirds},
      {{ours + "attn2.to_out.0"}, image + "attn2.proj"},
      {{ours + "attn2.norm_q"}, image + "attn2.ln_q"},
      {{ours + "attn2.norm_k"}, image + "attn2.ln_k"},
      {{ours + "norm1.linear"}, image + "adaLN_modulation.1"},
      // The last block's only scales and shifts its text, as the final layer does, with scale and shift in that order.
      {{ours + "norm1_context.linear"}, text + "adaLN_modulation.1", kHalvesSwappedIfTwo},
      {{ours + "ff.net.0.proj"}, image + "mlp.fc1"},
      {{ours + "ff.net.2"}, image + "mlp.fc2"},
      {{ours + "ff_context.net.0.proj"}, text + "mlp.fc1"},
      {{ours + "ff_context.net.2"}, text + "mlp.fc2"},
      {{"norm_out.linear"}, "final_layer.adaLN_modulation.1", kHalvesSwapped},
      {{"proj_out"}, "final_layer.linear"},
  };
}

}  // namespace dormer::interop
