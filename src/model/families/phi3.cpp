#include "decoder.hpp"

namespace dormer::model::families {
namespace {

/// Phi-3 and Phi-4 (Abdin et al. 2024): Llama with fused projections.
DecoderDescription describe(ConfigFields& fields) {
  DecoderDescription decoder = read_sizes(fields, "phi3", false);
  decoder.fused_projections = true;
  decoder.rotaries = {read_rotary(fields, decoder.maximum_positions)};
  require_gate(fields, {"hidden_act"}, {"silu", "swish"});
  const std::int64_t window = fields.size_or_null("sliding_window", 0);
  read_windows(fields, decoder, window, [](std::int64_t) { return true; });
  return decoder;
}

}  // namespace

ModelFamily phi3() {
  return decoder_family("Phi-3 and Phi-4 without long rope.", {"phi3"}, describe);
}

}  // namespace dormer::model::families
