#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dormer::interop {

enum class PeftTensor : std::uint8_t { kFactorA, kFactorB, kMagnitude, kWeight, kBias, kTokens };

struct PeftKey {
  std::string layer;  ///< module path
  PeftTensor tensor = PeftTensor::kFactorA;
};

/// "base_model.model.<layer>.lora_A.weight" and its kin. Magnitudes carry no ".weight" in files, though PEFT reads
/// both.
[[nodiscard]] std::string peft_key(const PeftKey& key);
/// Nothing for a name that is not one of these; a weight or bias belongs to a module that was trained whole.
[[nodiscard]] std::optional<PeftKey> parse_peft_key(std::string_view name);

}  // namespace dormer::interop
