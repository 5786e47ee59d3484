#include "decoder.hpp"

namespace dormer::model::families {
namespace {

/// Llama (Touvron et al. 2023).
DecoderDescription describe(ConfigFields& fields) {
  DecoderDescription decoder = read_sizes(fields, "llama", false);
  decoder.query_key_value_bias = decoder.output_bias = fields.flag("attention_bias", false);
  decoder.mlp_bias = fields.flag("mlp_bias", false);
  decoder.rotaries = {read_rotary(fields, decoder.maximum_positions)};
  require_gate(fields, {"hidden_act"}, {"silu", "swish"});
  fields.refuse_fields({"sliding_window", "attn_logit_softcapping", "final_logit_softcapping"});
  fields.refuse(fields.has("pretraining_tp") && fields.object().at("pretraining_tp") != 1,
                "pretraining_tp other than 1 is not supported");
  return decoder;
}

}  // namespace

ModelFamily llama() {
  return decoder_family("Llama 2 and 3.x, SmolLM and others of the Llama architecture.", {"llama"}, describe);
}

}  // namespace dormer::model::families
