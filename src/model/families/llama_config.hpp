#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "rotary_frequencies.hpp"

namespace dormer::model {

/// The Llama architecture's sizes, as config.json spells them for transformers 4 and 5.
struct LlamaConfig {
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
  bool attention_bias = false;
  bool mlp_bias = false;
  RotaryConfig rotary;
  std::vector<std::int64_t> end_of_text;
};

/// Pure. Throws one input error that names, for `where`, every setting that is missing, impossible, or not done here.
[[nodiscard]] LlamaConfig parse_llama_config(const std::string& text, std::string_view where);

}  // namespace dormer::model
