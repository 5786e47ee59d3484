#include "onetrainer_names.hpp"

#include <algorithm>
#include <array>

#include "kohya_keys.hpp"

namespace dormer::interop {
namespace {

struct Pair {
  std::string_view from;
  std::string_view to;
};

/// Endings besides those of kohya's form. Longer ones first where one ends in another.
constexpr std::array kEndings{
    Pair{".lora.down.weight", "lora_A"},
    Pair{".lora.up.weight", "lora_B"},
    Pair{".lora_A", "lora_A"},
    Pair{".lora_B", "lora_B"},
    Pair{".lora_magnitude_vector.weight", "magnitude"},
    Pair{".lora_magnitude_vector", "magnitude"},
};

constexpr std::array<std::string_view, 9> kComponents{
    "unet", "transformer", "prior", "text_encoder_2", "text_encoder_3", "text_encoder", "clip_l", "clip_g", "t5"};

/// Layers that the models' own code has in one, of which OMI numbers the parts.
constexpr std::array<std::string_view, 2> kFused{".qkv.", ".linear1."};

std::string without_default(std::string_view name) {
  constexpr std::string_view kInfix = ".default.weight";
  std::string result(name);
  if (name.ends_with(kInfix)) {
    result.replace(result.size() - kInfix.size(), kInfix.size(), ".weight");
  }
  return result;
}

std::string_view without_wrapper(std::string_view name) {
  constexpr std::string_view kWrapper = "base_model.model.";
  return name.starts_with(kWrapper) ? name.substr(kWrapper.size()) : name;
}

}  // namespace

std::optional<ArrayMeaning> parse_onetrainer_key(std::string_view name) {
  const std::string plain = without_default(without_wrapper(name));
  for (const Pair& ending : kEndings) {
    if (plain.ends_with(ending.from) && plain.size() > ending.from.size()) {
      return ArrayMeaning{plain.substr(0, plain.size() - ending.from.size()), std::string(ending.to)};
    }
  }
  const std::optional<KohyaKey> key = parse_kohya_key(plain);
  return key ? std::optional(ArrayMeaning{key->stem, key->factor}) : std::nullopt;
}

OneTrainerStem parse_onetrainer_stem(std::string_view stem) {
  for (const std::string_view component : kComponents) {
    if (stem.size() > component.size() + 1 && stem.starts_with(component) && stem[component.size()] == '.') {
      return {std::string(component), std::string(stem.substr(component.size() + 1))};
    }
  }
  return {{}, std::string(stem)};
}

bool is_part(std::string_view path) {
  return std::ranges::any_of(kFused, [&](std::string_view fused) {
    return path.size() > fused.size() && path.substr(0, path.size() - 1).ends_with(fused) && path.back() >= '0' &&
           path.back() <= '3';
  });
}

bool is_onetrainer_array(std::string_view name) {
  const std::optional<ArrayMeaning> key = parse_onetrainer_key(name);
  if (!key || key->layer.find('.') == std::string::npos) {
    return name.starts_with("bundle_emb.");
  }
  const OneTrainerStem stem = parse_onetrainer_stem(key->layer);
  const bool wrapped = name.starts_with("base_model.model.");
  if (stem.component.empty()) {  // ORIGINAL, or PEFT's around the denoiser
    return denoiser_component(stem.path).has_value();
  }
  // diffusers spells its factors lora_A and lora_B, and knows no others.
  const bool of_diffusers = !wrapped && (key->tensor == "magnitude" || name.find(".lora_A") != std::string_view::npos ||
                                         name.find(".lora_B") != std::string_view::npos);
  const bool tells_nothing = key->tensor == "alpha" || key->tensor == "dora_scale";
  return !of_diffusers && !tells_nothing;
}

}  // namespace dormer::interop
