#include "train/evaluated_images.hpp"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/interop/adapter_values.hpp"
#include "dormer/model/model_folder.hpp"
#include "train/agreement.hpp"
#include "train/image_task.hpp"

namespace dormer::train {
namespace {

std::unique_ptr<adapter::AdapterSet> loaded(const std::filesystem::path& file, const model::ImageModel& model) {
  const interop::StoredAdapter stored = interop::read_adapter(file);
  const std::string where = file.string();
  auto adapters =
      std::make_unique<adapter::AdapterSet>(interop::adapter_config_of(stored, where), model.layers(), RandomKey{});
  interop::load_into(*adapters, stored, where);
  return adapters;
}

}  // namespace

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
      result.adapters = loaded(*options.adapter, *model);
    }
    const bool adapts_text =
        options.adapter && std::ranges::any_of(result.adapters->site_names(), [](const std::string& name) {
          return name.starts_with("text_encoder");
        });
    objective::DenoiseSettings settings = settled_objective(config, images, *model);
    result.task = std::make_unique<ImageTask>(ImageTask::Parts{.model = std::move(model),
                                                               .folder = images.folder,
                                                               .plan = std::move(*images.plan),
                                                               .settings = std::move(settings),
                                                               .encoded = std::move(images.encoded),
                                                               .store = std::move(images.store),
                                                               .tokenizers = std::move(images.tokenizers),
                                                               .trains_text = adapts_text});
  });
  return result;
}

}  // namespace dormer::train
