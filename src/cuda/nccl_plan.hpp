#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "dormer/core/dtype.hpp"

namespace dormer::cuda {

/// One rank's part of a buffer, in elements.
struct Part {
  int owner = 0;
  std::int64_t begin = 0;
  std::int64_t count = 0;
};

/// The parts that are not empty, in rank order.
[[nodiscard]] std::vector<Part> parts_of(std::span<const std::int64_t> counts);

/// Whether all ranks have equal parts, so that NCCL's own call over all of them serves.
[[nodiscard]] bool are_equal(std::span<const std::int64_t> counts);

/// Whether NCCL has arithmetic for it: integers of 8, 32 and 64 bits, float32 and float64 (16-bit integers it has not).
[[nodiscard]] bool can_reduce(DType dtype);

}  // namespace dormer::cuda
