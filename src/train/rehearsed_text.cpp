#include <algorithm>
#include <memory>
#include <optional>
#include <set>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "dormer/adapter/head.hpp"
#include "dormer/core/error.hpp"
#include "dormer/data/token_batch.hpp"
#include "dormer/data/token_dataset.hpp"
#include "dormer/model/language_model.hpp"
#include "dormer/objective/next_token.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/operations.hpp"
#include "dormer/tensor/rehearsal.hpp"
#include "train/input_start.hpp"
#include "train/rehearsed_model.hpp"
#include "train/startup.hpp"

namespace dormer::train {
namespace {

class RehearsedText final : public RehearsedModel {
 public:
  RehearsedText(const RunConfig& config, const std::filesystem::path& folder, DType dtype)
      : config_(config),
        folder_(folder),
        model_(model::load_language_model(folder, {.dtype = dtype, .device = tensor::kShapesDevice})) {
    const std::int64_t positions = model_->facts().maximum_positions;
    require(config.data.sequence_length <= positions, Fault::kUsage,
            "data.sequence_length is {}, but the model in {} was made for at most {} positions",
            config.data.sequence_length, folder.string(), positions);
  }

  [[nodiscard]] std::span<const adapter::FrozenLayer> layers() const override { return model_->layers(); }
  [[nodiscard]] adapter::AddedTokensRequest added_tokens() const override {
    return train::added_tokens(config_.model, *model_, folder_);
  }
  [[nodiscard]] std::string description() const override {
    const model::LanguageModelFacts& facts = model_->facts();
    return fmt::format("{}, {} blocks of width {}", facts.family, facts.blocks, facts.hidden);
  }
  [[nodiscard]] std::int64_t mapped_bytes() const override {
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

  [[nodiscard]] PlannedData open_data() override {
    const data::TokenDataset data(config_.data.train, data_use(config_, *model_, folder_));
    const std::int64_t first = 0;
    documents_ = data.batch({&first, 1}).document_begin() != nullptr;
    return {.samples = data.samples(), .tokens = data.tokens(), .documents = documents_, .summary = {}};
  }

  void validate(const adapter::AdapterSet& adapters) const override {
    const tensor::NoRecording guard;
    static_cast<void>(objective::next_token_loss(*model_, batch(config_.batch.micro),
                                                 adapter::Pack::solo(&adapters, config_.batch.micro), {}));
  }
  void micro_batch(const adapter::Pack& pack) const override {
    static_cast<void>(
        objective::next_token_loss(*model_, batch(config_.batch.micro), pack,
                                   {.divisor = 1.0, .backward = true, .recompute_blocks = config_.run.recompute}));
  }

  // The logits of a chunk and the gradient of the hidden states, of which the graph has the values already.
  [[nodiscard]] std::int64_t loss_alone(const adapter::AdapterSet& adapters) const override {
    const model::LanguageModelFacts& facts = model_->facts();
    const at::Tensor& head = model_->head().values();
    const std::int64_t rows = config_.batch.micro * config_.data.sequence_length;
    const at::Tensor hidden = at::empty({rows, facts.hidden}, head.options()).set_requires_grad(true);
    const at::Tensor targets = at::zeros({rows}, at::kLong);
    tensor::AddedRows added;
    at::Tensor slot;
    if (const adapter::AddedTokens* tokens = adapters.added_tokens()) {
      slot = tokens->head_gradient();
      added = {.values = &tokens->head_rows(), .gradient = &slot};
    }
    const std::optional<adapter::TrainedHead> trained =
        adapter::trained_head(adapter::Pack::solo(&adapters, config_.batch.micro), model_->layers());
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

  [[nodiscard]] std::int64_t input_bytes(const adapter::AdapterSet& adapters, int rank, int ranks) const override {
    if (!adapter::takes_from_data(adapter::start_named(config_.adapter.start))) {
      return 0;
    }
    const Meter meter;
    const std::vector<SharedInput> inputs = shared_inputs(*model_, batch(1), adapters);
    const std::int64_t forward = meter.peak();
    std::int64_t most = forward;
    for (const InputPass& pass : plan_input_passes(inputs, ranks, kInputPassBytes)) {
      if (pass.rank == rank) {
        most = std::max(most, pass.sum_bytes(inputs) + std::max(forward, pass.working_bytes(inputs)));
      }
    }
    return most;
  }

 private:
  [[nodiscard]] data::TokenBatch batch(std::int64_t samples) const {
    const std::int64_t length = config_.data.sequence_length;
    const at::Tensor tokens = at::zeros({samples, length + 1}, at::kLong);
    const at::Tensor targets = tokens.narrow(1, 1, length).contiguous();
    return {tokens, targets, documents_ ? at::zeros_like(targets) : at::Tensor()};
  }

  const RunConfig& config_;
  std::filesystem::path folder_;
  std::unique_ptr<model::LanguageModel> model_;
  bool documents_ = false;
};

}  // namespace

std::unique_ptr<RehearsedModel> rehearse_text_model(const RunConfig& config, const std::filesystem::path& folder,
                                                    DType dtype) {
  return std::make_unique<RehearsedText>(config, folder, dtype);
}

}  // namespace dormer::train
