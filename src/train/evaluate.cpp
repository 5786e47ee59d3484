#include "dormer/train/evaluate.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "dormer/core/error.hpp"
#include "dormer/data/tokenizer_identity.hpp"
#include "dormer/interop/adapter_values.hpp"
#include "dormer/model/model_folder.hpp"
#include "dormer/objective/next_token.hpp"
#include "dormer/storage/safetensors.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/process.hpp"
#include "train/agreement.hpp"
#include "train/evaluated_images.hpp"
#include "train/startup.hpp"
#include "train/text_task.hpp"
#include "train/validation.hpp"

namespace dormer::train {
namespace {

constexpr std::string_view kLogitsFormat = "dormer.logits/1";

void write_logits(const std::filesystem::path& path, const TextTask& task, const adapter::AdapterSet* adapters) {
  const tensor::NoRecording guard;
  const std::vector<std::int64_t> first{0};
  const at::Tensor sample = task.validation()->batch(first).tokens();
  const std::int64_t length = task.validation()->sequence_length();
  const at::Tensor logits =
      objective::logits(task.model(), sample.narrow(1, 0, length), adapter::Pack::solo(adapters, 1)).contiguous().cpu();
  const auto array = [](std::string name, const at::Tensor& values, DType dtype, std::vector<std::int64_t> shape) {
    return storage::NamedArray{.name = std::move(name),
                               .dtype = dtype,
                               .shape = std::move(shape),
                               .bytes = {static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()}};
  };
  const std::vector<storage::NamedArray> arrays{array("tokens", sample, DType::kI64, {length + 1}),
                                                array("logits", logits, DType::kF32, logits.sizes().vec())};
  storage::write_safetensors(path, arrays, {{"format", std::string(kLogitsFormat)}});
}

/// What is measured on text.
struct EvaluatedText {
  std::unique_ptr<TextTask> task;
  std::unique_ptr<adapter::AdapterSet> adapters;  // null: the model alone
};

EvaluatedText open_text(const RunConfig& config, const Placement& placement, const NumericChoice& numerics,
                        const EvaluateOptions& options) {
  const std::filesystem::path folder = model::resolve_model_folder(config.model.path);
  placement.require_memory({{{"frozen base", weight_bytes(folder, numerics.dtype)}}});
  TextTask::Parts parts{
      .model = model::load_language_model(folder, {.dtype = numerics.dtype, .device = placement.device}),
      .folder = folder};
  parts.added_tokens = added_tokens(config.model, *parts.model, folder);
  parts.validation =
      std::make_unique<data::TokenDataset>(config.data.validation, data_use(config, *parts.model, folder));
  EvaluatedText result{.task = std::make_unique<TextTask>(std::move(parts)), .adapters = nullptr};
  if (options.adapter) {
    // A file of a change that was counted from factors of the weights holds that change, of another rank.
    const bool moved = adapter::takes_from_weight(adapter::start_named(config.adapter.start));
    const std::string where = options.adapter->string();
    const interop::StoredAdapter stored = interop::read_adapter(*options.adapter);
    result.adapters =
        std::make_unique<adapter::AdapterSet>(moved ? interop::adapter_config_of(stored, where) : config.adapter,
                                              result.task->layers(), RandomKey{}, result.task->added_tokens());
    interop::load_into(*result.adapters, stored, where);
  }
  return result;
}

Evaluation measured(comm::Communicator& communicator, const RunConfig& config, const EvaluateOptions& options,
                    const Task& task, const adapter::AdapterSet* adapters) {
  const std::int64_t samples = std::min(options.samples.value_or(config.validation.samples), task.validation_samples());
  const ValidationLoss loss =
      validation_loss(communicator,
                      {.task = task, .adapters = adapters, .samples = samples, .micro = config.batch.micro})
          .value();
  return {.loss = loss.mean, .samples = samples, .targets = samples, .concepts = loss.groups};
}

}  // namespace

Evaluation evaluate(const RunConfig& config, comm::Communicator& communicator, const EvaluateOptions& options) {
  tensor::configure_process(config.run.threads);
  const bool images = config.data.kind == "images";
  require(images || !config.data.validation.empty(), Fault::kUsage,
          "there is nothing to evaluate on: write data.validation");
  const Placement placement = take_device(communicator, config.run.device);
  const NumericChoice numerics = choose_numerics(communicator, config, placement, nullptr);
  if (images) {
    const EvaluatedImages found = open_evaluated_images(communicator, config, placement, numerics, options);
    return measured(communicator, config, options, *found.task, found.adapters.get());
  }
  EvaluatedText text;
  agree(communicator, [&] { text = open_text(config, placement, numerics, options); });
  Evaluation result = measured(communicator, config, options, *text.task, text.adapters.get());
  agree(communicator, [&] {
    if (options.logits && communicator.rank() == 0) {
      write_logits(*options.logits, *text.task, text.adapters.get());
    }
  });
  result.targets = 0;
  for (std::int64_t sample = 0; sample < result.samples; ++sample) {
    result.targets += text.task->validation()->targets(sample);
  }
  return result;
}

}  // namespace dormer::train
