#include <cmath>

#include "decoder.hpp"

namespace dormer::model::families {
namespace {

/// Gemma 2 (Gemma Team 2024): norms around every branch, GeGLU, soft caps, a window in every other block.
DecoderDescription describe(ConfigFields& fields) {
  DecoderDescription decoder = read_sizes(fields, "gemma2", true);
  decoder.query_key_value_bias = decoder.output_bias = fields.flag("attention_bias", false);
  decoder.branch_norms = true;
  decoder.norm_offset = 1.0;
  decoder.embedding_scale = std::sqrt(static_cast<double>(decoder.hidden));
  decoder.gate = tensor::GateFunction::kGeluTanh;
  require_gate(fields, {"hidden_activation", "hidden_act"}, {"gelu_pytorch_tanh"});
  decoder.attention_scale = 1.0 / std::sqrt(fields.number("query_pre_attn_scalar", 256.0));
  decoder.attention_soft_cap = fields.number_or_null("attn_logit_softcapping", 50.0);
  decoder.logit_soft_cap = fields.number_or_null("final_logit_softcapping", 30.0);
  decoder.rotaries = {read_rotary(fields, decoder.maximum_positions)};
  read_windows(fields, decoder, fields.size_or_null("sliding_window", 4'096),
               [](std::int64_t block) { return block % 2 == 0; });
  return decoder;
}

}  // namespace

ModelFamily gemma2() {
  return decoder_family("Gemma 2.", {"gemma2"}, describe);
}

}  // namespace dormer::model::families
