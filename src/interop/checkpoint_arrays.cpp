#include "checkpoint_arrays.hpp"

#include <array>
#include <span>
#include <utility>

namespace dormer::interop {
namespace {

constexpr std::array<std::string_view, 3> kImagePrefixes{"model.diffusion_model.", "diffusion_model.", ""};
constexpr std::array<std::string_view, 3> kFirstEncoderPrefixes{
    "cond_stage_model.transformer.",         // Stable Diffusion 1
    "conditioner.embedders.0.transformer.",  // XL
    "text_encoders.clip_l.transformer."};    // 3, and ComfyUI's Flux
constexpr std::array<std::string_view, 2> kSecondEncoderPrefixes{"text_encoders.clip_g.transformer.",
                                                                 "text_encoders.t5xxl.transformer."};  // Flux
constexpr std::array<std::string_view, 1> kThirdEncoderPrefixes{"text_encoders.t5xxl.transformer."};
constexpr std::array<std::string_view, 1> kNoPrefix{""};

constexpr std::string_view kClipLayers = "text_model.encoder.layers.";

std::span<const std::string_view> prefixes_of(std::string_view component) {
  if (component == "unet" || component == "transformer") {
    return kImagePrefixes;
  }
  if (component == "text_encoder") {
    return kFirstEncoderPrefixes;
  }
  if (component == "text_encoder_2") {
    return kSecondEncoderPrefixes;
  }
  return component == "text_encoder_3" ? std::span<const std::string_view>(kThirdEncoderPrefixes) : kNoPrefix;
}

/// What OpenCLIP calls a part of a layer.
struct OpenClipName {
  std::string_view ours;
  std::string_view theirs;
  std::int64_t part = 0;
  std::int64_t parts = 1;
};
constexpr std::array kOpenClipNames{OpenClipName{"self_attn.q_proj.", "attn.in_proj_", 0, 3},
                                    OpenClipName{"self_attn.k_proj.", "attn.in_proj_", 1, 3},
                                    OpenClipName{"self_attn.v_proj.", "attn.in_proj_", 2, 3},
                                    OpenClipName{"self_attn.out_proj.", "attn.out_proj."},
                                    OpenClipName{"mlp.fc1.", "mlp.c_fc."},
                                    OpenClipName{"mlp.fc2.", "mlp.c_proj."}};

/// "text_model.encoder.layers.3.mlp.fc1.weight" as "transformer.resblocks.3.mlp.c_fc.weight".
std::optional<ArrayPlace> open_clip_place(std::string_view component, std::string_view array) {
  if (!array.starts_with(kClipLayers) || (component != "text_encoder" && component != "text_encoder_2")) {
    return std::nullopt;
  }
  array.remove_prefix(kClipLayers.size());
  const std::size_t dot = array.find('.');
  if (dot == std::string_view::npos) {
    return std::nullopt;
  }
  const std::string_view number = array.substr(0, dot);
  const std::string_view rest = array.substr(dot + 1);
  const std::string_view prefix =
      component == "text_encoder" ? "cond_stage_model.model." : "conditioner.embedders.1.model.";
  for (const OpenClipName& known : kOpenClipNames) {
    if (rest.starts_with(known.ours)) {
      return ArrayPlace{std::string(prefix) + "transformer.resblocks." + std::string(number) + "." +
                            std::string(known.theirs) + std::string(rest.substr(known.ours.size())),
                        known.part, known.parts};
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<ArrayPlace> place_in_checkpoint(std::string_view component, std::string_view array,
                                              const std::function<bool(const std::string&)>& has) {
  for (const std::string_view prefix : prefixes_of(component)) {
    if (std::string name = std::string(prefix) + std::string(array); has(name)) {
      return ArrayPlace{.name = std::move(name)};
    }
  }
  std::optional<ArrayPlace> place = open_clip_place(component, array);
  return place && has(place->name) ? place : std::nullopt;
}

}  // namespace dormer::interop
