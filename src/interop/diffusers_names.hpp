#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace dormer::interop {

/// An array of a diffusers file.
struct DiffusersKey {
  std::string component;  ///< "unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3"
  std::string module;     ///< the path inside of it
  std::string factor;     ///< lora_A, lora_B, "magnitude" or "dora_scale"
  std::string path;       ///< the module as the file spells it
};

/// Nothing for a name that is none. The older spellings (".lora.down.weight", ".lora_linear_layer.up.weight",
/// ".processor.to_q_lora.down.weight") give the same keys. Pure.
[[nodiscard]] std::optional<DiffusersKey> parse_diffusers_key(std::string_view name);
[[nodiscard]] std::string diffusers_key(const std::string& layer, const std::string& factor);

}  // namespace dormer::interop
