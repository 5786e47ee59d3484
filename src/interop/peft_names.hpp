#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "dormer/interop/stored_adapter.hpp"

namespace dormer::interop {

inline constexpr std::string_view kPeftMagnitude = "magnitude";
inline constexpr std::string_view kPeftTokens = "tokens";
inline constexpr std::string_view kPeftBias = "layer bias";  ///< of a layer that has an adapter, too

/// An array of a PEFT folder: `factor` is a canonical name of StoredLayer, or one of the words above.
struct PeftKey {
  std::string layer;  ///< module path
  std::string factor;
};

/// "base_model.model.<layer>.lora_A.weight" and its kin. Magnitudes carry no ".weight" in files, though PEFT reads
/// both.
[[nodiscard]] std::string peft_key(const PeftKey& key);
/// Nothing for a name that is not one of these; a weight or bias belongs to a module that was trained whole.
[[nodiscard]] std::optional<PeftKey> parse_peft_key(std::string_view name);

/// A factor in the shape that PEFT gives it: lora_B with its single taps, a Tucker middle of one kernel axis with a
/// second one. Pure, as the next.
[[nodiscard]] StoredArray peft_factor(const StoredLayer& layer, const std::string& factor);
/// [out], of a convolution [1, out, 1, …].
[[nodiscard]] StoredArray peft_magnitude(const StoredLayer& layer);
/// Takes the magnitudes of a file, [out] or [1, out, 1, …]; another shape is an input fault.
void set_peft_magnitude(StoredLayer& layer, const std::string& layer_name, StoredArray values);
/// Takes a factor of a file; the second axis of a one-dimensional Tucker middle goes.
void put_peft_factor(StoredLayer& layer, const PeftKey& key, StoredArray values);

}  // namespace dormer::interop
