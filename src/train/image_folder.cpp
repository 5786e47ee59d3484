#include "train/image_folder.hpp"

#include "dormer/core/error.hpp"
#include "dormer/interop/checkpoint_folder.hpp"
#include "dormer/model/model_folder.hpp"

namespace dormer::train {

std::filesystem::path image_model_folder(const std::string& model, const std::string& tokenizer,
                                         const std::string& prediction) {
  std::error_code code;
  if (std::filesystem::is_regular_file(model, code)) {
    return interop::checkpoint_folder({.file = model, .tokenizer = tokenizer, .prediction = prediction},
                                      interop::default_checkpoint_place());
  }
  const std::filesystem::path folder = model::resolve_model_or_pipeline(model);
  require(model::is_pipeline(folder), Fault::kInput, "{} has no model_index.json: it is no folder of a diffusion model",
          folder.string());
  return folder;
}
}  // namespace dormer::train
