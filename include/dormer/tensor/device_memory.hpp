#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "dormer/tensor/forward.hpp"

namespace dormer::tensor {

/// A tensor over fp32 memory of `device` (as LibTorch writes it) that somebody else owns: the span outlives it.
[[nodiscard]] at::Tensor borrowed(std::span<float> values, const std::string& device);
[[nodiscard]] at::Tensor borrowed(std::span<const float> values, const std::string& device);

/// The values on the host. Waits for the device's current stream.
[[nodiscard]] std::vector<float> on_host(std::span<const float> values, const std::string& device);

/// The memory of a contiguous fp32 tensor, on its device.
[[nodiscard]] std::span<float> span_of(const at::Tensor& values);

}  // namespace dormer::tensor
