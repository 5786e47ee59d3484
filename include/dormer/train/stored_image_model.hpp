#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/data/clip_tokenizer.hpp"
#include "dormer/model/image_model.hpp"

namespace dormer::train {

/// A diffusion model for making pictures, with an adapter's file or without.
struct StoredImageModelRequest {
  std::filesystem::path model;                   ///< a folder of diffusers, or a checkpoint in one file
  std::string tokenizer{};                       ///< of a file alone, as text.tokenizer
  std::string prediction{};                      ///< of a file alone, as objective.prediction
  std::optional<std::filesystem::path> adapter;  ///< in any form of interop
  std::string dtype = "auto";                    ///< auto | float32 | bfloat16, but for the autoencoder: float32
  std::string device = "auto";                   ///< auto | cpu | cuda
};

struct StoredImageModel {
  std::unique_ptr<model::ImageModel> model;
  std::unique_ptr<adapter::AdapterSet> adapters;  ///< null: none
  std::vector<data::ClipTokenizer> tokenizers;    ///< one a text encoder
};

/// An adapter's file, in any form of interop, on a model whose trainable parts all have places for it.
[[nodiscard]] std::unique_ptr<adapter::AdapterSet> load_adapter_of(const model::ImageModel& model,
                                                                   const std::filesystem::path& file);

/// Loads all of it. Errors are those of its parts.
[[nodiscard]] StoredImageModel load_stored_image_model(const StoredImageModelRequest& request);

}  // namespace dormer::train
