#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dormer/interop/stored_adapter.hpp"

/// One layer's change as that of several that lie above each other in it, and back. Pure.
namespace dormer::interop {

/// One of the layers that another naming has as one.
struct FusedPart {
  std::string name;                    ///< of the layer, with its component
  const StoredLayer* layer = nullptr;  ///< null: it has no adapter
};

/// The layer `name` whose rows are those of `parts`, from the top down: low-rank factors with their ranks added (one
/// lora_A where all have the same), magnitudes of the output axis, whole changes. With `rest`, all parts but the last
/// are as high as the input is wide. Where plain changes lack a part, its rows are zero.
/// Usage errors: input axis, LoHa, LoKr, convolutions, unlike kinds or inputs, a part missing beside decomposed ones.
[[nodiscard]] StoredLayer fused(const std::string& name, const std::vector<FusedPart>& parts, bool rest);

/// The layers of `heights` rows each, from the top down, that `layer` consists of. They share lora_A, unless every row
/// of it serves one part alone; plain changes that are zero are then left out (a null kind).
/// Usage errors: input axis, LoHa, LoKr, convolutions.
[[nodiscard]] std::vector<StoredLayer> split(const std::string& name, const StoredLayer& layer,
                                             const std::vector<std::int64_t>& heights);

/// The layer whose first half of rows is this one's second, and the other way round. Usage errors: an odd number of
/// rows, LoKr whose small factor has one.
[[nodiscard]] StoredLayer with_halves_swapped(const std::string& name, const StoredLayer& layer);

}  // namespace dormer::interop
