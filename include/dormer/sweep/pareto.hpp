#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dormer/sweep/goal.hpp"

namespace dormer::sweep {

/// What a point gives and what it costs; both finite.
struct Offer {
  std::int64_t point = 0;
  double value = 0.0;
  double cost = 0.0;  ///< the less the better
};

/// The offers that no other one beats, by ascending cost, then by number: another beats one if it is at least as good
/// in value and cost and better in one of them. Of equal offers all are on the front. Pure.
[[nodiscard]] std::vector<Offer> pareto_front(std::span<const Offer> offers, Goal goal);

}  // namespace dormer::sweep
