#pragma once

#include <vector>

#include "dormer/core/random_key.hpp"
#include "dormer/sweep/space.hpp"

namespace dormer::sweep {

/// Uniform in [0, 1) with 53 bits.
[[nodiscard]] double uniform(RandomKey key, std::uint64_t counter = 0);

/// Random coordinates of a point, each from a stream of the parameter's name: another parameter in the space, or
/// another order, leaves them as they are.
[[nodiscard]] std::vector<double> random_coordinates(const Space& space, RandomKey point);

}  // namespace dormer::sweep
