#include "train/rehearsed_trial.hpp"

#include <algorithm>
#include <optional>
#include <set>
#include <string>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "dormer/adapter/head.hpp"
#include "dormer/adapter/weight_change.hpp"
#include "dormer/core/error.hpp"
#include "dormer/data/token_batch.hpp"
#include "dormer/objective/next_token.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/memory.hpp"
#include "dormer/tensor/operations.hpp"
#include "train/input_start.hpp"
#include "train/startup.hpp"
#include "train/trial.hpp"

namespace dormer::train {
namespace {

using tensor::TensorMemory;

/// Bytes of shapes beyond those that there were when it was made.
class Meter {
 public:
  Meter() : before_(tensor::memory_use(TensorMemory::kShapes).live) {
    tensor::reset_peak_memory(TensorMemory::kShapes);
  }
  [[nodiscard]] std::int64_t live() const { return tensor::memory_use(TensorMemory::kShapes).live - before_; }
  [[nodiscard]] std::int64_t peak() const { return tensor::memory_use(TensorMemory::kShapes).peak - before_; }

 private:
  std::int64_t before_;
};

std::unique_ptr<model::LanguageModel> load_shapes(const std::filesystem::path& folder, DType dtype,
                                                  std::int64_t& bytes) {
  const Meter meter;
  auto model = model::load_language_model(folder, {.dtype = dtype, .device = tensor::kShapesDevice});
  bytes = meter.live();
  invariant(bytes > 0, "shapes are not counted: configure_process comes first");
  return model;
}

adapter::AdapterSet build_adapters(const RunConfig& config, const model::LanguageModel& model,
                                   const std::filesystem::path& folder, std::int64_t& bytes, std::int64_t& peak) {
  const Meter meter;
  adapter::AdapterSet adapters(config.adapter, model.layers(), RandomKey{}, added_tokens(config.model, model, folder));
  bytes = meter.live();
  peak = meter.peak();
  return adapters;
}

data::TokenBatch batch_of(const RunConfig& config, std::int64_t samples, bool documents) {
  const std::int64_t length = config.data.sequence_length;
  const at::Tensor tokens = at::zeros({samples, length + 1}, at::kLong);
  const at::Tensor targets = tokens.narrow(1, 1, length).contiguous();
  return {tokens, targets, documents ? at::zeros_like(targets) : at::Tensor()};
}

}  // namespace

RehearsedTrial::RehearsedTrial(const RunConfig& config, const std::filesystem::path& folder, const Place& place)
    : config_(config),
      rehearsal_(place.products),
      model_(load_shapes(folder, place.dtype, base_bytes_)),
      adapters_(build_adapters(config, *model_, folder, adapter_bytes_, start_bytes_)) {
  const std::int64_t positions = model_->facts().maximum_positions;
  require(config.data.sequence_length <= positions, Fault::kUsage,
          "data.sequence_length is {}, but the model in {} was made for at most {} positions",
          config.data.sequence_length, folder.string(), positions);
}

std::int64_t RehearsedTrial::mapped_bytes() const {
  std::set<std::string> seen;
  std::int64_t bytes = 0;
  const auto add = [&](const tensor::BaseWeight& weight) {
    if (weight.defined() && weight.mapped() && seen.insert(weight.name()).second) {
      bytes += static_cast<std::int64_t>(weight.values().nbytes());
    }
  };
  for (const adapter::FrozenLayer& layer : model_->layers()) {
    add(layer.weight);
    add(layer.bias);
  }
  add(model_->embedding());
  add(model_->head());
  return bytes;
}

std::unique_ptr<optim::Optimizer> RehearsedTrial::make_optimizer(optim::ElementRange slice,
                                                                 const std::string& device) const {
  return train::make_optimizer(config_, adapters_.space(), slice, device);
}

std::int64_t RehearsedTrial::state_bytes(optim::ElementRange slice) const {
  return static_cast<std::int64_t>(make_optimizer(slice, tensor::kShapesDevice)->state_bytes());
}

std::vector<std::string> RehearsedTrial::state_names() const {
  std::vector<std::string> names;
  const std::unique_ptr<optim::Optimizer> empty = make_optimizer({0, 0}, "cpu");
  for (const optim::StateArray& array : empty->state()) {
    names.push_back(array.name);
  }
  if (empty->averages()) {
    names.emplace_back("trained");
  }
  return names;
}

std::vector<SharedShape> RehearsedTrial::shared_shapes() const {
  std::vector<SharedShape> shapes;
  const std::unique_ptr<optim::Optimizer> empty = make_optimizer({0, 0}, "cpu");
  for (const optim::SharedArray& array : empty->shared_state()) {
    shapes.push_back({array.name, array.shape});
  }
  return shapes;
}

// The logits of a chunk and the gradient of the hidden states, of which the graph has the values already.
std::int64_t RehearsedTrial::loss_alone() const {
  const model::LanguageModelFacts& facts = model_->facts();
  const at::Tensor& head = model_->head().values();
  const std::int64_t rows = config_.batch.micro * config_.data.sequence_length;
  const at::Tensor hidden = at::empty({rows, facts.hidden}, head.options()).set_requires_grad(true);
  const at::Tensor targets = at::zeros({rows}, at::kLong);
  tensor::AddedRows added;
  at::Tensor slot;
  if (const adapter::AddedTokens* tokens = adapters_.added_tokens()) {
    slot = tokens->head_gradient();
    added = {.values = &tokens->head_rows(), .gradient = &slot};
  }
  const std::optional<adapter::TrainedHead> trained =
      adapter::trained_head(adapter::Pack::solo(&adapters_, config_.batch.micro), model_->layers());
  at::Tensor head_slot;
  if (trained) {
    head_slot = trained->gradient();
    added.head_gradient = &head_slot;
  }
  const Meter meter;
  static_cast<void>(tensor::linear_cross_entropy(
      hidden, head, targets, {.divisor = 1.0, .backward = true, .soft_cap = facts.logit_soft_cap}, added));
  return meter.peak();
}

void RehearsedTrial::measure_micro_batch(bool documents, PassingBytes& bytes) {
  const data::TokenBatch batch = batch_of(config_, config_.batch.micro, documents);
  adapter::Pack pack = adapter::Pack::solo(&adapters_, config_.batch.micro);
  {
    const tensor::NoRecording guard;
    const Meter meter;
    static_cast<void>(objective::next_token_loss(*model_, batch, pack, {}));
    bytes.validation = meter.peak();
  }
  if (adapters_.has_dropout()) {
    pack.segments.front().dropout_keys = adapter::dropout_keys(RandomKey{}, 0, 0, config_.batch.micro);
  }
  const std::int64_t loss = loss_alone();
  const Meter meter;
  if (adapters_.has_dropout()) {
    adapters_.rehearse_dropout();
  }
  static_cast<void>(objective::next_token_loss(
      *model_, batch, pack, {.divisor = 1.0, .backward = true, .recompute_blocks = config_.run.recompute}));
  bytes.loss = std::min(loss, meter.peak());
  bytes.activations = meter.peak() - bytes.loss;
}

std::int64_t RehearsedTrial::input_bytes(bool documents, int rank, int ranks) const {
  if (!adapter::takes_from_data(adapter::start_named(config_.adapter.start))) {
    return 0;
  }
  const Meter meter;
  const std::vector<SharedInput> inputs = shared_inputs(*model_, batch_of(config_, 1, documents), adapters_);
  const std::int64_t forward = meter.peak();
  std::int64_t most = forward;
  for (const InputPass& pass : plan_input_passes(inputs, ranks, kInputPassBytes)) {
    if (pass.rank == rank) {
      most = std::max(most, pass.sum_bytes(inputs) + std::max(forward, pass.working_bytes(inputs)));
    }
  }
  return most;
}

PassingBytes RehearsedTrial::pass(bool documents) {
  const at::Tensor gradient = at::empty_like(adapters_.space().values());
  adapters_.space().bind_gradient(gradient);
  PassingBytes bytes;
  measure_micro_batch(documents, bytes);
  {
    const Meter meter;
    adapters_.space().mark_written();
    adapters_.refresh();
    bytes.norms = meter.peak();
  }
  const Meter meter;
  static_cast<void>(adapter::measure_weight_changes(adapters_, model_->layers()));
  bytes.report = meter.peak();
  return bytes;
}

}  // namespace dormer::train
