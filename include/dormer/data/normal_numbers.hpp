#pragma once

#include <span>

#include "dormer/core/random_key.hpp"

namespace dormer::data {

/// Standard normal numbers (Box & Muller 1958): number i is a function of (key, i) alone, on any machine with the same
/// logarithm, sine and cosine.
void draw_normal_numbers(RandomKey key, std::span<float> values);
/// The first of them, in fp64.
[[nodiscard]] double normal_number(RandomKey key);

}  // namespace dormer::data
