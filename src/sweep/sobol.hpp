#pragma once

#include <cstdint>

#include "dormer/core/random_key.hpp"

namespace dormer::sweep {

inline constexpr std::uint32_t kSobolDimensions = 64;

/// Coordinate `dimension` of point `index` of the Sobol sequence in Gray code's order, as a fraction of 2^32. Among the
/// first 2^k points, one lies in each 2^-k of every dimension.
[[nodiscard]] std::uint32_t sobol(std::uint32_t dimension, std::uint32_t index);

/// Owen's nested scrambling: every bit is flipped or not by a random function of the bits above it, which keeps what
/// makes the sequence even and takes away its corners and regularity.
[[nodiscard]] std::uint32_t scrambled(std::uint32_t value, RandomKey key);

}  // namespace dormer::sweep
