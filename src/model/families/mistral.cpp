#include "decoder.hpp"

namespace dormer::model::families {
namespace {

/// Mistral 7B (Jiang et al. 2023) and its successors: Llama with a window in every block, or none.
DecoderDescription describe(ConfigFields& fields) {
  DecoderDescription decoder = read_sizes(fields, "mistral", false);
  decoder.rotaries = {read_rotary(fields, decoder.maximum_positions)};
  require_gate(fields, {"hidden_act"}, {"silu", "swish"});
  const std::int64_t window = fields.size_or_null("sliding_window", 4'096);
  read_windows(fields, decoder, window, [](std::int64_t) { return true; });
  return decoder;
}

}  // namespace

ModelFamily mistral() {
  return decoder_family("Mistral.", {"mistral"}, describe);
}

}  // namespace dormer::model::families
