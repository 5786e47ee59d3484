#include "sweep/draw.hpp"

namespace dormer::sweep {

double uniform(RandomKey key, std::uint64_t counter) {
  const std::array<std::uint32_t, 4> words = philox(key, counter);
  const std::uint64_t bits = (std::uint64_t{words[0]} << 32 | words[1]) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

std::vector<double> random_coordinates(const Space& space, RandomKey point) {
  std::vector<double> coordinates;
  for (const Parameter& parameter : space.parameters()) {
    coordinates.push_back(parameter.quantile(uniform(point.child(parameter.name))));
  }
  return coordinates;
}

}  // namespace dormer::sweep
