#pragma once

#include <cstdint>
#include <span>

#include "dormer/inference/generate.hpp"

namespace dormer::inference {

struct PickedToken {
  std::int64_t token = 0;
  double log_probability = 0.0;  ///< under softmax(logits)
};

/// Chooses a token with one uniform 32-bit word. Pure; equal logits rank by index. Throws a numerical error where a
/// logit is not a number or all are minus infinity.
[[nodiscard]] PickedToken pick_token(std::span<const float> logits, const Sampling& sampling, std::uint32_t word);

}  // namespace dormer::inference
