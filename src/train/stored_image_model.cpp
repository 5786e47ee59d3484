#include "dormer/train/stored_image_model.hpp"

#include "dormer/comm/single.hpp"
#include "dormer/interop/adapter_values.hpp"
#include "train/encoded_parts.hpp"
#include "train/image_folder.hpp"
#include "train/placement.hpp"
#include "train/startup.hpp"

namespace dormer::train {

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
    const interop::StoredAdapter stored = interop::read_adapter(*request.adapter);
    const std::string where = request.adapter->string();
    result.adapters = std::make_unique<adapter::AdapterSet>(interop::adapter_config_of(stored, where),
                                                            result.model->layers(), RandomKey{});
    interop::load_into(*result.adapters, stored, where);
  }
  return result;
}

}  // namespace dormer::train
