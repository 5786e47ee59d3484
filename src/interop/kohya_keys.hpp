#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "dormer/interop/stored_adapter.hpp"

/// Names of arrays in files of kohya's form (flat names) and of ComfyUI's (dotted names), as pure functions.
namespace dormer::interop {

/// "lora_unet_….lora_down.weight" is the layer "lora_unet_…" and the factor "lora_A".
struct KohyaKey {
  std::string stem;    ///< the layer as the file spells it, prefix included
  std::string factor;  ///< a canonical factor name, "alpha" or "dora_scale"
};
/// Nothing for a name that ends in no tensor of these forms.
[[nodiscard]] std::optional<KohyaKey> parse_kohya_key(std::string_view name);

/// Whether the name has an ending of PEFT's (lora_magnitude_vector, lora_A, …) or ai-toolkit's (magnitude) spelling
/// that the programs of kohya's form pass over.
[[nodiscard]] bool is_foreign_tensor(std::string_view name);
/// The magnitudes among them: without these a file is another adapter.
[[nodiscard]] bool is_foreign_magnitude(std::string_view name);

/// Which model of a pipeline a prefix names.
enum class KohyaPart : std::uint8_t {
  kDenoiser,
  kFirstText,
  kSecondText,
  kThirdText,
  kWrapped,  ///< "lycoris_": whatever LyCORIS was wrapped around
};
struct KohyaStem {
  KohyaPart part = KohyaPart::kDenoiser;
  std::string path;  ///< flat, or dotted in ComfyUI's form
};
/// Nothing where the stem has none of the form's prefixes.
[[nodiscard]] std::optional<KohyaStem> parse_flat_stem(std::string_view stem);
[[nodiscard]] std::optional<KohyaStem> parse_dotted_stem(std::string_view stem);

/// Stems as they are written; the layer carries its component. A layer without one is a usage error that names the way
/// out.
[[nodiscard]] std::string flat_stem(ModelFamily family, const std::string& layer);
[[nodiscard]] std::string dotted_stem(ModelFamily family, const std::string& layer);

/// "unet" or "transformer", by the first word of a denoiser's path in any naming; nothing for one that is not known.
[[nodiscard]] std::optional<std::string> denoiser_component(std::string_view dotted_path);

}  // namespace dormer::interop
