#include <cmath>

#include "decoder.hpp"

namespace dormer::model::families {
namespace {

/// Qwen 3 (Yang et al. 2025): RMSNorm over every head's query and key.
DecoderDescription describe(ConfigFields& fields) {
  DecoderDescription decoder = read_sizes(fields, "qwen3", false);
  if (!fields.has("head_dim")) {
    decoder.head_width = 128;
    decoder.attention_scale = 1.0 / std::sqrt(128.0);
  }
  decoder.query_key_value_bias = decoder.output_bias = fields.flag("attention_bias", false);
  decoder.query_key_norm = true;
  decoder.rotaries = {read_rotary(fields, decoder.maximum_positions)};
  require_gate(fields, {"hidden_act"}, {"silu", "swish"});
  const bool windows = fields.flag("use_sliding_window", false);
  const std::int64_t window = windows ? fields.size_or_null("sliding_window", 4'096) : 0;
  const std::int64_t full_blocks = windows ? fields.size_or_null("max_window_layers", 28) : decoder.blocks;
  read_windows(fields, decoder, window, [full_blocks](std::int64_t block) { return block >= full_blocks; });
  return decoder;
}

}  // namespace

ModelFamily qwen3() {
  return decoder_family("Qwen 3, dense.", {"qwen3"}, describe);
}

}  // namespace dormer::model::families
