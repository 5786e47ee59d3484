#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../../src/interop/stored_values.hpp"
#include "dormer/interop/stored_adapter.hpp"

namespace dormer::test {

/// Values between -1 and 1 that a seed decides.
inline interop::StoredArray array(std::vector<std::int64_t> shape, std::uint32_t seed) {
  const std::int64_t count = std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
  interop::StoredArray result{.shape = std::move(shape), .values = {}};
  std::uint32_t state = 2'654'435'761U * (seed + 1);
  for (std::int64_t i = 0; i < count; ++i) {
    state = 1'664'525U * state + 1'013'904'223U;
    result.values.push_back(static_cast<float>(static_cast<std::int32_t>(state)) * 0x1p-31F);
  }
  return result;
}

/// A whole layer; `norms` magnitudes by `axis`, if any.
inline interop::StoredLayer layer_of(const std::string& name, std::map<std::string, interop::StoredArray> factors,
                                     double alpha, std::optional<adapter::Axis> axis = {}, std::int64_t norms = 0) {
  interop::StoredLayer layer;
  layer.factors = std::move(factors);
  layer.alpha = alpha;
  layer.axis = axis;
  layer.magnitude = array({norms}, 77).values;
  interop::finish_layer(layer, name);
  return layer;
}

}  // namespace dormer::test
