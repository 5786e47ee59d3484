#include "kronecker_shape.hpp"

#include <algorithm>

namespace dormer::adapter {

WidthFactors divide_width(std::int64_t width, std::int64_t factor) {
  if (factor > 0 && width % factor == 0) {
    return {std::min(factor, width / factor), std::max(factor, width / factor)};
  }
  const std::int64_t largest = factor < 0 ? width : factor;
  WidthFactors best{1, width};
  for (std::int64_t small = 2; small <= largest && small * small <= width; ++small) {
    if (width % small == 0) {
      best = {small, width / small};
    }
  }
  return best;
}

}  // namespace dormer::adapter
