#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dormer/tensor/operations.hpp"
#include "rotary_frequencies.hpp"

namespace dormer::model {

/// A decoder-only transformer as plain data: all that the families differ in. A family is a function from config.json
/// to this. Tensor names are those of Hugging Face folders; adapters and exports use the same module names.
struct DecoderDescription {
  std::string family;
  std::int64_t vocabulary = 0;
  std::int64_t hidden = 0;
  std::int64_t intermediate = 0;
  std::int64_t blocks = 0;
  std::int64_t heads = 0;
  std::int64_t key_value_heads = 0;
  std::int64_t head_width = 0;
  std::int64_t maximum_positions = 0;
  double epsilon = 1e-6;
  bool tied_head = false;
  std::vector<std::int64_t> end_of_text;

  bool query_key_value_bias = false;
  bool output_bias = false;  ///< of the attention's output projection
  bool mlp_bias = false;
  bool fused_projections = false;  ///< qkv_proj and gate_up_proj in place of five layers (Phi-3)
  bool query_key_norm = false;     ///< RMSNorm over every head's query and key, before rotation (Qwen 3, Gemma 3)
  bool branch_norms = false;       ///< RMSNorm after attention and MLP, too, before they are added (Gemma)
  double norm_offset = 0.0;        ///< every norm multiplies by offset + weight (Gemma: 1)
  double embedding_scale = 1.0;    ///< rounded to the compute dtype (Gemma: sqrt(hidden))
  tensor::GateFunction gate = tensor::GateFunction::kSilu;
  double attention_scale = 1.0;
  double attention_soft_cap = 0.0;  ///< 0: none
  double logit_soft_cap = 0.0;      ///< 0: none

  std::vector<RotaryConfig> rotaries;        ///< at least one
  std::vector<std::size_t> rotary_of_block;  ///< [blocks], into `rotaries`
  std::vector<std::int64_t> windows;         ///< [blocks]: keys that a position sees; 0: all
};

}  // namespace dormer::model
