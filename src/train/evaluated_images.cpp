#include "train/evaluated_images.hpp"

#include <utility>
#include <vector>

#include "dormer/core/error.hpp"
#include "dormer/model/model_folder.hpp"
#include "dormer/train/pictures.hpp"
#include "dormer/train/stored_image_model.hpp"
#include "train/agreement.hpp"
#include "train/image_task.hpp"

namespace dormer::train {

EvaluatedImages open_evaluated_images(comm::Communicator& communicator, const RunConfig& config,
                                      const Placement& placement, const NumericChoice& numerics,
                                      const EvaluateOptions& options) {
  require(!options.logits, Fault::kUsage, "--logits is of language models");
  PreparedImages images = read_images(communicator, config, numerics);
  require(images.plan->validation_samples() > 0, Fault::kUsage,
          "there is nothing to evaluate on: write a concept with role: validation");
  encode_images(
      communicator, images, placement, [] {}, EncodedShare::kHeldOut);
  EvaluatedImages result;
  agree(communicator, [&] {
    // A file may have layers of any part; the model alone needs texts where the cache has none.
    auto model = std::make_shared<const model::ImageModel>(
        images.folder,
        model::ImageModelRequest{.train = options.adapter ? model::trainable_parts(images.folder)
                                                          : std::vector{model::denoiser_part(images.folder)},
                                 .placement = {numerics.dtype, placement.device},
                                 .text_encoders = options.adapter || images.plan->encodes_texts(),
                                 .autoencoder = false});
    if (options.adapter) {
      result.adapters = load_adapter_of(*model, *options.adapter);
    }
    objective::DenoiseSettings settings = settled_objective(config, images, *model);
    result.task = std::make_unique<ImageTask>(ImageTask::Parts{.model = std::move(model),
                                                               .folder = images.folder,
                                                               .plan = std::move(*images.plan),
                                                               .settings = std::move(settings),
                                                               .encoded = std::move(images.encoded),
                                                               .store = std::move(images.store),
                                                               .tokenizers = std::move(images.tokenizers),
                                                               .trains_text = adapts_texts(result.adapters.get())});
  });
  return result;
}

}  // namespace dormer::train
