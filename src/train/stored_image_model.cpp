#include "dormer/train/stored_image_model.hpp"

#include "dormer/comm/single.hpp"
#include "dormer/interop/adapter_values.hpp"
#include "train/encoded_parts.hpp"
#include "train/image_folder.hpp"
#include "train/placement.hpp"
#include "train/startup.hpp"

namespace dormer::train {

std::unique_ptr<adapter::AdapterSet> load_adapter_of(const model::ImageModel& model,
                                                     const std::filesystem::path& file) {
  const interop::StoredAdapter stored = interop::read_adapter(file);
  const std::string where = file.string();
  auto adapters =
      std::make_unique<adapter::AdapterSet>(interop::adapter_config_of(stored, where), model.layers(), RandomKey{});
  interop::load_into(*adapters, stored, where);
  return adapters;
}

StoredImageModel load_stored_image_model(const StoredImageModelRequest& request) {
  const std::filesystem::path folder = image_model_folder(request.model, request.tokenizer, request.prediction);
  const Placement placement = take_device(*comm::single(), request.device);
  StoredImageModel result;
  result.model = std::make_unique<model::ImageModel>(
      folder, model::ImageModelRequest{
                  .train = model::trainable_parts(folder),  // a file may have layers of any
                  .placement = {compute_dtype(request.dtype, placement.gpu.has_value()), placement.device}});
  result.tokenizers = open_tokenizers(folder);
  if (request.adapter) {
    result.adapters = load_adapter_of(*result.model, *request.adapter);
  }
  return result;
}

}  // namespace dormer::train
