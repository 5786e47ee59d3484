#include <optional>
#include <string>
#include <utility>

#include "dormer/core/error.hpp"
#include "dormer/interop/adapter_format.hpp"
#include "dormer/storage/safetensors.hpp"
#include "kohya_keys.hpp"
#include "layer_arrays.hpp"
#include "layer_names.hpp"
#include "onetrainer_names.hpp"

namespace dormer::interop::formats {
namespace {

constexpr std::string_view kMagnitude = ".magnitude";

/// "….magnitude" beside factors of kohya's or of diffusers' spelling; torchtune's are spelled lora_a.
bool recognizes(const std::filesystem::path& source) {
  return any_array(source, [](const std::string& name) { return name.ends_with(kMagnitude); }) &&
         !any_array(source, [](const std::string& name) { return name.find(".lora_a.") != std::string::npos; });
}

std::optional<ArrayMeaning> parse_key(const std::string& name) {
  if (name.ends_with(kMagnitude)) {
    return ArrayMeaning{name.substr(0, name.size() - kMagnitude.size()), "magnitude"};
  }
  return parse_onetrainer_key(name);
}

std::optional<std::string> denoiser_name(const std::string& path) {
  const std::optional<std::string> component = denoiser_component(path);
  return component ? std::optional(*component + "." + path) : std::nullopt;
}

/// Flat names as kohya has them, "transformer." and "diffusion_model." with dots.
std::optional<std::string> layer_name(const std::string& stem) {
  if (const std::optional<KohyaStem> flat = parse_flat_stem(stem)) {
    const std::optional<std::string> path = dotted_name(flat->path);
    switch (flat->part) {
      case KohyaPart::kFirstText:
        return path ? std::optional("text_encoder." + *path) : std::nullopt;
      case KohyaPart::kSecondText:
        return path ? std::optional("text_encoder_2." + *path) : std::nullopt;
      case KohyaPart::kThirdText:
        return path ? std::optional("text_encoder_3." + *path) : std::nullopt;
      default:
        return path ? denoiser_name(*path) : std::nullopt;
    }
  }
  if (const std::optional<KohyaStem> dotted = parse_dotted_stem(stem)) {
    return dotted->part == KohyaPart::kDenoiser ? denoiser_name(dotted->path) : std::nullopt;
  }
  const OneTrainerStem parsed = parse_onetrainer_stem(stem);
  if (parsed.component.starts_with("text_encoder")) {
    return stem;
  }
  return parsed.component == "unet" || parsed.component == "transformer" ? denoiser_name(parsed.path) : std::nullopt;
}

StoredAdapter read(const std::filesystem::path& source, const ReadOptions& options) {
  const auto file = storage::SafetensorsFile::open(source);
  StoredAdapter adapter = read_layer_arrays(*file, options, [](const std::string& name) -> std::optional<ArrayMeaning> {
    const std::optional<ArrayMeaning> key = parse_key(name);
    const std::optional<std::string> layer = key ? layer_name(key->layer) : std::nullopt;
    return layer ? std::optional(ArrayMeaning{*layer, key->tensor}) : std::nullopt;
  });
  bool any_alpha = false;
  for (const auto& [name, layer] : adapter.layers) {
    any_alpha = any_alpha || layer.alpha.has_value();
    require(!layer.axis || layer.kernel_axes == 0, Fault::kInput,
            "'{}' of {} is a convolution with a magnitude, which ai-toolkit does not train", name, source.string());
  }
  if (!any_alpha) {
    adapter.warnings.push_back(
        "the file says no alpha, as ai-toolkit writes it: its scale is read as 1, which is right where linear_alpha "
        "was "
        "the rank");
  }
  adapter.naming = naming_of(adapter);
  adapter.family = family_of(adapter);
  return adapter;
}

}  // namespace

AdapterFormat ai_toolkit() {
  return {.doc = "A file of ai-toolkit with magnitudes (<layer>.magnitude, one for every output).",
          .file_name = "{}.safetensors",
          .recognizes = recognizes,
          .read = read};
}

}  // namespace dormer::interop::formats
