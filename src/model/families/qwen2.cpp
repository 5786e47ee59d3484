#include "decoder.hpp"

namespace dormer::model::families {
namespace {

/// Qwen 2 and 2.5 (Yang et al. 2024): biases on query, key and value.
DecoderDescription describe(ConfigFields& fields) {
  DecoderDescription decoder = read_sizes(fields, "qwen2", false);
  decoder.query_key_value_bias = true;
  decoder.rotaries = {read_rotary(fields, decoder.maximum_positions)};
  require_gate(fields, {"hidden_act"}, {"silu", "swish"});
  const bool windows = fields.flag("use_sliding_window", false);
  const std::int64_t window = windows ? fields.size_or_null("sliding_window", 4'096) : 0;
  const std::int64_t full_blocks = windows ? fields.size_or_null("max_window_layers", 28) : decoder.blocks;
  read_windows(fields, decoder, window, [full_blocks](std::int64_t block) { return block >= full_blocks; });
  return decoder;
}

}  // namespace

ModelFamily qwen2() {
  return decoder_family("Qwen 2 and 2.5.", {"qwen2"}, describe);
}

}  // namespace dormer::model::families
