#include "names/name_rules.hpp"

namespace dormer::interop {

std::vector<std::string> further_parts() {
  return {// insides of a UNet's transformer blocks
          "attn1", "attn2", "to_q", "to_k", "to_v", "to_out", "ff", "net", "proj", "norm1", "norm2", "norm3",
          // CLIP
          "text_model", "embeddings", "token_embedding", "position_embedding", "encoder", "layers", "self_attn",
          "q_proj", "k_proj", "v_proj", "out_proj", "mlp", "fc1", "fc2", "layer_norm1", "layer_norm2",
          "final_layer_norm", "text_projection",
          // T5
          "shared", "embed_tokens", "block", "layer", "SelfAttention", "q", "k", "v", "o", "relative_attention_bias",
          "DenseReluDense", "wi", "wi_0", "wi_1", "wo", "layer_norm",
          // language models of the Llama kind
          "model", "o_proj", "gate_proj", "up_proj", "down_proj", "input_layernorm", "post_attention_layernorm", "norm",
          "lm_head"};
}

}  // namespace dormer::interop
