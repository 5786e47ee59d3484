#pragma once

#include <cstdint>

namespace dormer::sweep {

/// Which way the sweep's metric is better.
enum class Goal : std::uint8_t { kMinimize, kMaximize };

/// Whether `left` is better than `right`; of equals neither is.
[[nodiscard]] constexpr bool better(double left, double right, Goal goal) {
  return goal == Goal::kMinimize ? left < right : left > right;
}

}  // namespace dormer::sweep
