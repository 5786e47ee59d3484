#include <cmath>
#include <string_view>

#include "decoder.hpp"

namespace dormer::model::families {
namespace {

/// The two rotary embeddings: blocks with a window have their own.
void read_rotaries(ConfigFields& fields, DecoderDescription& decoder) {
  const double local_theta = fields.number("rope_local_base_freq", 10'000.0);
  const double theta = fields.number("rope_theta", 1'000'000.0);
  RotaryConfig full{.theta = theta};
  RotaryConfig local{.theta = local_theta};
  const auto read = [&](const char* key, const char* part, RotaryConfig& rotary) {
    const nlohmann::json& whole = fields.object().at(key);
    const bool apart = whole.is_object() && whole.contains(part);
    if (apart || std::string_view(part) == "full_attention") {
      rotary = read_rotary_object(fields, apart ? whole.at(part) : whole, key, rotary.theta, decoder.maximum_positions);
    }
  };
  if (fields.has("rope_parameters")) {
    read("rope_parameters", "full_attention", full);
    read("rope_parameters", "sliding_attention", local);
  } else if (fields.has("rope_scaling")) {
    read("rope_scaling", "full_attention", full);
  }
  decoder.rotaries = {full, local};
  for (std::size_t block = 0; block < decoder.windows.size(); ++block) {
    decoder.rotary_of_block[block] = decoder.windows[block] > 0 ? 1 : 0;
  }
}

/// Gemma 3's text models (Gemma Team 2025): Gemma 2 with norms of query and key in place of the caps.
DecoderDescription describe(ConfigFields& fields) {
  DecoderDescription decoder = read_sizes(fields, "gemma3", true);
  decoder.query_key_value_bias = decoder.output_bias = fields.flag("attention_bias", false);
  decoder.branch_norms = true;
  decoder.norm_offset = 1.0;
  decoder.embedding_scale = std::sqrt(static_cast<double>(decoder.hidden));
  decoder.gate = tensor::GateFunction::kGeluTanh;
  require_gate(fields, {"hidden_activation", "hidden_act"}, {"gelu_pytorch_tanh"});
  decoder.attention_scale = 1.0 / std::sqrt(fields.number("query_pre_attn_scalar", 256.0));
  decoder.query_key_norm = true;
  fields.refuse_fields({"attn_logit_softcapping"});
  fields.refuse(fields.flag("use_bidirectional_attention", false), "use_bidirectional_attention is not supported");
  decoder.logit_soft_cap = fields.number_or_null("final_logit_softcapping", 0.0);
  const std::int64_t pattern = fields.size("sliding_window_pattern", 6);
  read_windows(fields, decoder, fields.size("sliding_window", 4'096),
               [pattern](std::int64_t block) { return (block + 1) % pattern != 0; });
  read_rotaries(fields, decoder);
  return decoder;
}

}  // namespace

ModelFamily gemma3() {
  return decoder_family("Gemma 3, text models.", {"gemma3_text"}, describe);
}

}  // namespace dormer::model::families
