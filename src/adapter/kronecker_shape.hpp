#pragma once

#include <cstdint>

namespace dormer::adapter {

/// Two numbers whose product is a width.
struct WidthFactors {
  std::int64_t small = 1;
  std::int64_t large = 1;
};

/// As LyCORIS divides a width: by `factor` where that divides it, else by the largest divisor up to `factor` and the
/// square root; -1: by the largest up to the square root. Pure.
[[nodiscard]] WidthFactors divide_width(std::int64_t width, std::int64_t factor);

}  // namespace dormer::adapter
