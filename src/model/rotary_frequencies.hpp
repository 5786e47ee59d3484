#pragma once

#include <cstdint>
#include <string>

#include <ATen/core/Tensor.h>

namespace dormer::model {

/// Rotary embedding as config.json describes it: rope_theta and rope_scaling (transformers 4) or rope_parameters (5).
struct RotaryConfig {
  std::string type = "default";  ///< default | linear | llama3
  double theta = 10'000.0;
  double factor = 1.0;
  double low_frequency_factor = 1.0;   ///< llama3
  double high_frequency_factor = 4.0;  ///< llama3
  double original_positions = 8'192;   ///< llama3
};

/// Inverse frequencies fp32 [width/2], in the same fp32 operations as transformers: the angles of late positions are
/// sensitive to the last bit of a frequency.
[[nodiscard]] at::Tensor inverse_frequencies(const RotaryConfig& config, std::int64_t width);

/// Angles fp32 [count, width/2] of positions (int64 [count]).
[[nodiscard]] at::Tensor rotary_angles(const at::Tensor& frequencies, const at::Tensor& positions);

}  // namespace dormer::model
