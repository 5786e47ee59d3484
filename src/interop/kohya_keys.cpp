#include "kohya_keys.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "dormer/core/error.hpp"
#include "layer_names.hpp"

namespace dormer::interop {
namespace {

struct Ending {
  std::string_view text;
  std::string_view factor;
};

// Longer ones first where one ends in another.
constexpr std::array kEndings{
    Ending{".lora_down.weight", "lora_A"}, Ending{".lora_up.weight", "lora_B"}, Ending{".lora_mid.weight", "lora_mid"},
    Ending{".lora_down", "lora_A"},        Ending{".lora_up", "lora_B"},        Ending{".lora_mid", "lora_mid"},
    Ending{".lora_A.weight", "lora_A"},    Ending{".lora_B.weight", "lora_B"},  Ending{".alpha", "alpha"},
    Ending{".dora_scale", "dora_scale"},   Ending{".hada_w1_a", "hada_w1_a"},   Ending{".hada_w1_b", "hada_w1_b"},
    Ending{".hada_w2_a", "hada_w2_a"},     Ending{".hada_w2_b", "hada_w2_b"},   Ending{".hada_t1", "hada_t1"},
    Ending{".hada_t2", "hada_t2"},         Ending{".lokr_w1", "lokr_w1"},       Ending{".lokr_w1_a", "lokr_w1_a"},
    Ending{".lokr_w1_b", "lokr_w1_b"},     Ending{".lokr_w2", "lokr_w2"},       Ending{".lokr_w2_a", "lokr_w2_a"},
    Ending{".lokr_w2_b", "lokr_w2_b"},     Ending{".lokr_t2", "lokr_t2"},       Ending{".diff", "diff"},
    Ending{".diff_b", "diff_b"},           Ending{".w_norm", "diff"},  // what LyCORIS adds to a normalization layer
    Ending{".b_norm", "diff_b"},
};

constexpr std::array<std::string_view, 3> kMagnitudes{".lora_magnitude_vector", ".lora_magnitude_vector.weight",
                                                      ".magnitude"};
constexpr std::array<std::string_view, 6> kFactorsOfPeft{".lora_A.weight", ".lora_B.weight",    ".lora_A",
                                                         ".lora_B",        ".lora_embedding_A", ".lora_embedding_B"};

struct Prefix {
  std::string_view text;
  KohyaPart part;
};
constexpr std::array kFlatPrefixes{
    Prefix{"lora_unet_", KohyaPart::kDenoiser},  Prefix{"lora_transformer_", KohyaPart::kDenoiser},
    Prefix{"lora_te_", KohyaPart::kFirstText},   Prefix{"lora_te1_", KohyaPart::kFirstText},
    Prefix{"lora_te2_", KohyaPart::kSecondText}, Prefix{"lora_te3_", KohyaPart::kThirdText},
    Prefix{"lycoris_", KohyaPart::kWrapped},
};
constexpr std::array kDottedPrefixes{
    Prefix{"diffusion_model.", KohyaPart::kDenoiser},
    Prefix{"text_encoders.clip_l.transformer.", KohyaPart::kFirstText},
    Prefix{"text_encoders.clip_g.transformer.", KohyaPart::kSecondText},
    Prefix{"text_encoders.t5xxl.transformer.", KohyaPart::kThirdText},
};

template <typename Prefixes>
std::optional<KohyaStem> parse_stem(std::string_view stem, const Prefixes& prefixes) {
  for (const Prefix& prefix : prefixes) {
    if (stem.starts_with(prefix.text) && stem.size() > prefix.text.size()) {
      return KohyaStem{prefix.part, std::string(stem.substr(prefix.text.size()))};
    }
  }
  return std::nullopt;
}

template <typename Endings>
bool ends_with_any(std::string_view name, const Endings& endings) {
  return std::ranges::any_of(endings, [&](std::string_view ending) { return name.ends_with(ending); });
}

/// Flux has T5 second in diffusers, but third in these forms.
KohyaPart part_of(ModelFamily family, const std::string& component, const std::string& layer) {
  if (component == "unet" || component == "transformer") {
    return KohyaPart::kDenoiser;
  }
  if (component == "text_encoder") {
    return KohyaPart::kFirstText;
  }
  if (component == "text_encoder_2") {
    return family == ModelFamily::kFlux ? KohyaPart::kThirdText : KohyaPart::kSecondText;
  }
  require(component == "text_encoder_3", Fault::kUsage,
          "'{}' is a layer of no image model, and this form has names for those alone; write it for peft or merged",
          layer);
  return KohyaPart::kThirdText;
}

constexpr std::array<std::string_view, 14> kUnetWords{
    "input_blocks", "middle_block", "output_blocks",  "time_embed",    "label_emb", "out",      "down_blocks",
    "mid_block",    "up_blocks",    "time_embedding", "add_embedding", "conv_in",   "conv_out", "conv_norm_out"};
constexpr std::array<std::string_view, 19> kTransformerWords{"double_blocks",
                                                             "single_blocks",
                                                             "img_in",
                                                             "txt_in",
                                                             "time_in",
                                                             "vector_in",
                                                             "guidance_in",
                                                             "final_layer",
                                                             "joint_blocks",
                                                             "t_embedder",
                                                             "y_embedder",
                                                             "x_embedder",
                                                             "context_embedder",
                                                             "transformer_blocks",
                                                             "single_transformer_blocks",
                                                             "time_text_embed",
                                                             "norm_out",
                                                             "proj_out",
                                                             "pos_embed"};

}  // namespace

std::optional<KohyaKey> parse_kohya_key(std::string_view name) {
  for (const Ending& ending : kEndings) {
    if (name.ends_with(ending.text) && name.size() > ending.text.size()) {
      return KohyaKey{std::string(name.substr(0, name.size() - ending.text.size())), std::string(ending.factor)};
    }
  }
  return std::nullopt;
}

bool is_foreign_magnitude(std::string_view name) {
  return ends_with_any(name, kMagnitudes);
}

bool is_foreign_tensor(std::string_view name) {
  return is_foreign_magnitude(name) || ends_with_any(name, kFactorsOfPeft);
}

std::optional<KohyaStem> parse_flat_stem(std::string_view stem) {
  return stem.find('.') == std::string_view::npos ? parse_stem(stem, kFlatPrefixes) : std::nullopt;
}

std::optional<KohyaStem> parse_dotted_stem(std::string_view stem) {
  return parse_stem(stem, kDottedPrefixes);
}

std::string flat_stem(ModelFamily family, const std::string& layer) {
  const LayerName name = split_component(layer);
  const std::string path = flat_name(name.module);
  switch (part_of(family, name.component, layer)) {
    case KohyaPart::kFirstText:  // kohya numbers text encoders only where there are several
      return (family == ModelFamily::kSd1 ? "lora_te_" : "lora_te1_") + path;
    case KohyaPart::kSecondText:
      return "lora_te2_" + path;
    case KohyaPart::kThirdText:
      return "lora_te3_" + path;
    default:
      return "lora_unet_" + path;
  }
}

std::string dotted_stem(ModelFamily family, const std::string& layer) {
  const LayerName name = split_component(layer);
  const KohyaPart part = part_of(family, name.component, layer);
  const auto* const found =
      std::ranges::find_if(kDottedPrefixes, [&](const Prefix& prefix) { return prefix.part == part; });
  return std::string(found->text) + name.module;
}

std::optional<std::string> denoiser_component(std::string_view dotted_path) {
  const std::string_view word = dotted_path.substr(0, dotted_path.find('.'));
  if (std::ranges::find(kUnetWords, word) != kUnetWords.end()) {
    return "unet";
  }
  return std::ranges::find(kTransformerWords, word) != kTransformerWords.end()
             ? std::optional<std::string>("transformer")
             : std::nullopt;
}

}  // namespace dormer::interop
