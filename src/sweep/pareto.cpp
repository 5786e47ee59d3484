#include "dormer/sweep/pareto.hpp"

#include <algorithm>

namespace dormer::sweep {

std::vector<Offer> pareto_front(std::span<const Offer> offers, Goal goal) {
  std::vector<Offer> sorted(offers.begin(), offers.end());
  std::ranges::sort(sorted, [&](const Offer& left, const Offer& right) {
    if (left.cost != right.cost) {
      return left.cost < right.cost;
    }
    return left.value != right.value ? better(left.value, right.value, goal) : left.point < right.point;
  });
  std::vector<Offer> front;
  for (const Offer& offer : sorted) {
    const bool equal = !front.empty() && offer.value == front.back().value && offer.cost == front.back().cost;
    if (front.empty() || equal || better(offer.value, front.back().value, goal)) {
      front.push_back(offer);
    }
  }
  return front;
}

}  // namespace dormer::sweep
