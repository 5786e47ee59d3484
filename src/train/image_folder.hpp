#pragma once

#include <filesystem>
#include <string>

namespace dormer::train {

/// The folder of diffusers of what a person names as a diffusion model: a folder, a hub id, or a checkpoint in one file
/// (`interop::checkpoint_folder`, to which the other two arguments belong).
[[nodiscard]] std::filesystem::path image_model_folder(const std::string& model, const std::string& tokenizer,
                                                       const std::string& prediction);

}  // namespace dormer::train
