#include "checkpoint/layout.hpp"

#include <utility>

#include <fmt/format.h>

#include "dormer/core/error.hpp"

namespace dormer::interop {
namespace {

constexpr const char* kUnet = "model.diffusion_model.";
constexpr const char* kFirstEncoder = "cond_stage_model.transformer.";
constexpr const char* kSecondEncoder = "cond_stage_model.model.";
constexpr const char* kExtraLargeFirst = "conditioner.embedders.0.transformer.";
constexpr const char* kExtraLargeSecond = "conditioner.embedders.1.model.";

CheckpointFamily checkpoint_family(const ArrayShapes& arrays) {
  const auto under = [&](const char* prefix, const char* array) { return arrays.has(std::string(prefix) + array); };
  require(under(kUnet, "input_blocks.0.0.weight"), Fault::kInput,
          "it has no {}input_blocks.0.0.weight: Stable Diffusion 1.x, 2.x and XL in one file are read; of other models "
          "name the folder of diffusers",
          kUnet);
  constexpr const char* kTable = "text_model.embeddings.token_embedding.weight";
  if (under(kExtraLargeFirst, kTable) && under(kExtraLargeSecond, "token_embedding.weight")) {
    return CheckpointFamily::kExtraLarge;
  }
  if (under(kFirstEncoder, kTable)) {
    return CheckpointFamily::kFirst;
  }
  require(under(kSecondEncoder, "token_embedding.weight"), Fault::kInput,
          "it holds no text encoder that is known here (cond_stage_model, or both of conditioner.embedders); a file "
          "of the denoiser alone, or a refiner, is not enough: name a whole checkpoint, or a folder of diffusers");
  return CheckpointFamily::kSecond;
}

/// "epsilon", "v": what kohya's scripts write as modelspec.prediction_type, and arrays named as markers by others.
std::optional<std::string> prediction_of(const ArrayShapes& arrays, const std::map<std::string, std::string>& metadata,
                                         CheckpointFamily family) {
  if (arrays.has("v_pred")) {
    return "v_prediction";
  }
  for (const char* key : {"modelspec.prediction_type", "modelspec.predict_key"}) {
    if (const auto found = metadata.find(key); found != metadata.end()) {
      if (found->second == "epsilon") {
        return "epsilon";
      }
      if (found->second == "v" || found->second == "v_prediction") {
        return "v_prediction";
      }
    }
  }
  // The second was released with both, and its files do not tell which.
  return family == CheckpointFamily::kSecond ? std::nullopt : std::optional<std::string>("epsilon");
}

Settings index_of(CheckpointFamily family) {
  const bool large = family == CheckpointFamily::kExtraLarge;
  Settings index{{"_class_name", large ? "StableDiffusionXLPipeline" : "StableDiffusionPipeline"},
                 {"scheduler", {"diffusers", "DDIMScheduler"}},
                 {"text_encoder", {"transformers", "CLIPTextModel"}}};
  if (large) {
    index["text_encoder_2"] = {"transformers", "CLIPTextModelWithProjection"};
  }
  index["tokenizer"] = {"transformers", "CLIPTokenizer"};
  if (large) {
    index["tokenizer_2"] = {"transformers", "CLIPTokenizer"};
  }
  index["unet"] = {"diffusers", "UNet2DConditionModel"};
  index["vae"] = {"diffusers", "AutoencoderKL"};
  return index;
}

}  // namespace

std::int64_t ArrayShapes::size(const std::string& name, std::size_t dimension) const {
  const auto found = shapes_.find(name);
  require(found != shapes_.end() && dimension < found->second.size(), Fault::kInput,
          "its array {} is missing, or has too few dimensions; download it again", name);
  return found->second[dimension];
}

std::size_t ArrayShapes::dimensions(const std::string& name) const {
  const auto found = shapes_.find(name);
  return found == shapes_.end() ? 0 : found->second.size();
}

std::int64_t ArrayShapes::count(const std::string& begin, const std::string& end) const {
  std::int64_t number = 0;
  while (has(fmt::format("{}{}{}", begin, number, end))) {
    ++number;
  }
  return number;
}

void ArrayShapes::under(
    std::string_view prefix,
    const std::function<void(const std::string& rest, const std::vector<std::int64_t>& shape)>& each) const {
  for (auto place = shapes_.lower_bound(prefix); place != shapes_.end() && place->first.starts_with(prefix); ++place) {
    each(place->first.substr(prefix.size()), place->second);
  }
}

CheckpointLayout checkpoint_layout(const ArrayShapes& arrays, const std::map<std::string, std::string>& metadata) {
  CheckpointLayout layout{.family = checkpoint_family(arrays), .parts = {}, .index = {}, .prediction = {}};
  layout.prediction = prediction_of(arrays, metadata, layout.family);
  layout.zero_terminal_snr = arrays.has("ztsnr");
  layout.index = index_of(layout.family);
  layout.parts.push_back(denoiser_layout(arrays));
  switch (layout.family) {
    case CheckpointFamily::kFirst:
      layout.parts.push_back(clip_layout(arrays, "text_encoder", kFirstEncoder));
      break;
    case CheckpointFamily::kSecond:  // made for the states before the last layer
      layout.parts.push_back(open_clip_layout(arrays, "text_encoder", kSecondEncoder, 1));
      break;
    case CheckpointFamily::kExtraLarge:
      layout.parts.push_back(clip_layout(arrays, "text_encoder", kExtraLargeFirst));
      layout.parts.push_back(open_clip_layout(arrays, "text_encoder_2", kExtraLargeSecond, 0));
      break;
  }
  layout.parts.push_back(
      autoencoder_layout(arrays, layout.family == CheckpointFamily::kExtraLarge ? 0.13025 : 0.18215));
  return layout;
}

}  // namespace dormer::interop
