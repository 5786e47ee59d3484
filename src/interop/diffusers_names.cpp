#include "diffusers_names.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "dormer/core/error.hpp"
#include "peft_names.hpp"

namespace dormer::interop {
namespace {

constexpr std::array<std::string_view, 5> kComponents{"unet", "transformer", "text_encoder", "text_encoder_2",
                                                      "text_encoder_3"};
constexpr std::string_view kDoraScale = "dora_scale";
constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kSuffixes{{
    {".lora_A.weight", "lora_A"},
    {".lora_B.weight", "lora_B"},
    {".lora_magnitude_vector", kPeftMagnitude},  // as diffusers writes it
    {".lora_magnitude_vector.weight", kPeftMagnitude},
    {".dora_scale", kDoraScale},
    {".lora.down.weight", "lora_A"},
    {".lora.up.weight", "lora_B"},
    {".lora_linear_layer.down.weight", "lora_A"},
    {".lora_linear_layer.up.weight", "lora_B"},
    {"_lora.down.weight", "lora_A"},  // of attention processors
    {"_lora.up.weight", "lora_B"},
}};

/// "attn1.processor.to_q" is "attn1.to_q"; the output projection is the first of a list.
std::string module_of(std::string module) {
  constexpr std::string_view kProcessor = ".processor.";
  const std::size_t place = module.rfind(kProcessor);
  if (place != std::string::npos) {
    module.replace(place, kProcessor.size(), ".");
  }
  return module.ends_with(".to_out") ? module + ".0" : module;
}

}  // namespace

std::optional<DiffusersKey> parse_diffusers_key(std::string_view name) {
  const std::string_view component = name.substr(0, name.find('.'));
  if (std::ranges::find(kComponents, component) == kComponents.end()) {
    return std::nullopt;
  }
  name.remove_prefix(std::min(name.size(), component.size() + 1));
  for (const auto& [suffix, factor] : kSuffixes) {
    if (name.size() > suffix.size() && name.ends_with(suffix)) {
      std::string path(name.substr(0, name.size() - suffix.size()));
      std::string module = suffix.starts_with('_') ? module_of(path) : path;
      // Newer versions of transformers have CLIP's layers without this part.
      if (component.starts_with("text_encoder") && module.starts_with("encoder.layers.")) {
        module.insert(0, "text_model.");
      }
      return DiffusersKey{std::string(component), std::move(module), std::string(factor), std::move(path)};
    }
  }
  return std::nullopt;
}

std::string diffusers_key(const std::string& layer, const std::string& factor) {
  const auto* const suffix = std::ranges::find(kSuffixes, factor, &decltype(kSuffixes)::value_type::second);
  invariant(suffix != kSuffixes.end(), "diffusers has no name for {}", factor);
  return layer + std::string(suffix->first);
}

}  // namespace dormer::interop
