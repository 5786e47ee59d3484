#include "dormer/train/evaluate.hpp"

#include <algorithm>
#include <memory>

#include "dormer/core/error.hpp"
#include "dormer/data/tokenizer_identity.hpp"
#include "dormer/interop/adapter_format.hpp"
#include "dormer/model/model_folder.hpp"
#include "dormer/tensor/process.hpp"
#include "train/agreement.hpp"
#include "train/startup.hpp"
#include "train/validation.hpp"

namespace dormer::train {

Evaluation evaluate(const RunConfig& config, comm::Communicator& communicator, const EvaluateOptions& options) {
  tensor::configure_process(config.run.threads);
  require(!config.data.validation.empty(), Fault::kUsage, "there is nothing to evaluate on: write data.validation");
  agree(communicator,
        [&] { require_cpu_is_meant(config.run.device, comm::current_environment(), has_nvidia_device()); });
  const NumericChoice numerics = choose_numerics(communicator, config, nullptr);
  std::unique_ptr<model::LanguageModel> model;
  std::unique_ptr<data::TokenDataset> dataset;
  std::unique_ptr<adapter::AdapterSet> adapters;
  agree(communicator, [&] {
    const std::filesystem::path folder = model::resolve_model_folder(config.model.path);
    model = model::load_language_model(folder, numerics.dtype);
    dataset = std::make_unique<data::TokenDataset>(
        config.data.validation, data::TokenDatasetUse{.sequence_length = config.data.sequence_length,
                                                      .model_vocabulary = model->facts().vocabulary,
                                                      .tokenizer_sha256 = data::folder_tokenizer_sha256(folder)});
    if (options.adapter) {
      adapters = std::make_unique<adapter::AdapterSet>(config.adapter, model->layers(), RandomKey{});
      interop::load_adapter_into(*adapters, *options.adapter);
    }
  });
  const std::int64_t samples = std::min(options.samples.value_or(config.validation.samples), dataset->samples());
  const double loss = validation_loss(
      communicator,
      {.model = *model, .data = *dataset, .adapters = adapters.get(), .samples = samples, .micro = config.batch.micro});
  return {.loss = loss, .samples = samples, .targets = samples * config.data.sequence_length};
}

}  // namespace dormer::train
