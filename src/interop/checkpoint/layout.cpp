#include "checkpoint/layout.hpp"

#include <functional>
#include <numeric>
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
constexpr const char* kThirdFirst = "text_encoders.clip_l.transformer.";
constexpr const char* kThirdSecond = "text_encoders.clip_g.transformer.";

CheckpointFamily checkpoint_family(const ArrayShapes& arrays) {
  const auto under = [&](const char* prefix, const char* array) { return arrays.has(std::string(prefix) + array); };
  constexpr const char* kTable = "text_model.embeddings.token_embedding.weight";
  if (under(kUnet, "joint_blocks.0.x_block.attn.qkv.weight")) {
    require(under(kThirdFirst, kTable) && under(kThirdSecond, kTable), Fault::kInput,
            "it holds not both of its text encoders ({} and {}): name a file that includes them, or a folder of "
            "diffusers",
            kThirdFirst, kThirdSecond);
    return CheckpointFamily::kThird;
  }
  require(
      under(kUnet, "input_blocks.0.0.weight"), Fault::kInput,
      "it has no {}input_blocks.0.0.weight: Stable Diffusion 1.x, 2.x, XL, 3 and 3.5 in one file are read; of other "
      "models name the folder of diffusers",
      kUnet);
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
  if (family == CheckpointFamily::kThird) {
    return "flow";
  }
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
  if (family == CheckpointFamily::kThird) {
    return {{"_class_name", "StableDiffusion3Pipeline"},
            {"scheduler", {"diffusers", "FlowMatchEulerDiscreteScheduler"}},
            {"text_encoder", {"transformers", "CLIPTextModelWithProjection"}},
            {"text_encoder_2", {"transformers", "CLIPTextModelWithProjection"}},
            {"text_encoder_3", {nullptr, nullptr}},
            {"tokenizer", {"transformers", "CLIPTokenizer"}},
            {"tokenizer_2", {"transformers", "CLIPTokenizer"}},
            {"tokenizer_3", {nullptr, nullptr}},
            {"transformer", {"diffusers", "SD3Transformer2DModel"}},
            {"vae", {"diffusers", "AutoencoderKL"}}};
  }
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

void add_thirds(PartLayout& part, std::span<const std::string> names, const std::string& array,
                std::vector<std::int64_t> shape) {
  require(!shape.empty() && shape[0] % 3 == 0, Fault::kInput,
          "its array {} is not query, key and value; download it again", array);
  shape[0] /= 3;
  const std::int64_t elements = std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
  std::int64_t first = 0;
  for (const std::string& name : names) {
    part.arrays.push_back({.name = name, .file = {}, .array = array, .shape = shape, .first_element = first});
    first += elements;
  }
}

CheckpointLayout checkpoint_layout(const ArrayShapes& arrays, const std::map<std::string, std::string>& metadata) {
  CheckpointLayout layout{.family = checkpoint_family(arrays), .parts = {}, .index = {}, .prediction = {}};
  layout.prediction = prediction_of(arrays, metadata, layout.family);
  layout.zero_terminal_snr = arrays.has("ztsnr");
  layout.index = index_of(layout.family);
  const bool third = layout.family == CheckpointFamily::kThird;
  layout.parts.push_back(third ? transformer_layout(arrays) : denoiser_layout(arrays));
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
    case CheckpointFamily::kThird:  // the first one's pooled state is that before its projection
      layout.parts.push_back(projecting_clip_layout(arrays, "text_encoder", kThirdFirst, ClipProjection::kIdentity));
      layout.parts.push_back(projecting_clip_layout(arrays, "text_encoder_2", kThirdSecond, ClipProjection::kOfFile));
      break;
  }
  const double scaling = third ? 1.5305 : layout.family == CheckpointFamily::kExtraLarge ? 0.13025 : 0.18215;
  layout.parts.push_back(autoencoder_layout(arrays, scaling, third ? 0.0609 : 0.0));
  return layout;
}

}  // namespace dormer::interop
