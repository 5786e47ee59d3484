#pragma once

#include <span>
#include <string>
#include <vector>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/adapter/site.hpp"

namespace dormer::adapter {

/// How far an adapter moved one frozen weight: the two measures of DoRA's analysis (Liu et al. 2024, section 3.2), by
/// output row, or by input channel where it is decomposed on that axis. With W the frozen weight and V = W + Δ:
struct WeightChange {
  std::string site;
  double magnitude = 0.0;  ///< mean |m - ‖w‖|: m is the row's magnitude, or ‖v‖ where nothing is decomposed
  double direction = 0.0;  ///< mean 1 - cos(v, w), a row of zeros counted as not turned
};

/// Measures every adapted layer of a model's `layers`, in the order of the sites, without forming V or Δ. The sums are
/// arranged so that small changes keep their digits.
[[nodiscard]] std::vector<WeightChange> measure_weight_changes(const AdapterSet& adapters,
                                                               std::span<const FrozenLayer> layers);

}  // namespace dormer::adapter
