#include "sweep/order.hpp"

#include <algorithm>

namespace dormer::sweep {

std::optional<std::vector<std::size_t>> order_by_needs(const std::vector<std::vector<std::size_t>>& needs) {
  std::vector<bool> done(needs.size(), false);
  std::vector<std::size_t> order;
  while (order.size() < needs.size()) {
    std::size_t next = 0;
    while (next < needs.size() &&
           (done[next] || !std::ranges::all_of(needs[next], [&](std::size_t need) -> bool { return done[need]; }))) {
      ++next;
    }
    if (next == needs.size()) {
      return std::nullopt;
    }
    done[next] = true;
    order.push_back(next);
  }
  return order;
}

}  // namespace dormer::sweep
