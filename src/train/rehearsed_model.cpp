#include "train/rehearsed_model.hpp"

#include <ATen/core/Tensor.h>

#include "dormer/core/error.hpp"
#include "dormer/model/model_folder.hpp"
#include "train/image_folder.hpp"

namespace dormer::train {

std::filesystem::path model_folder_of(const RunConfig& config) {
  return config.data.kind == "images"
             ? image_model_folder(config.model.path, config.text.tokenizer, config.objective.denoise.prediction)
             : model::resolve_model_folder(config.model.path);
}

std::unique_ptr<RehearsedModel> rehearse_model(const RunConfig& config, const std::filesystem::path& folder,
                                               DType dtype, std::int64_t& bytes) {
  const Meter meter;
  auto model = config.data.kind == "images" ? rehearse_image_model(config, folder, dtype)
                                            : rehearse_text_model(config, folder, dtype);
  bytes = meter.live();
  invariant(bytes > 0, "shapes are not counted: configure_process comes first");
  return model;
}

}  // namespace dormer::train
