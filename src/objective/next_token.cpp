#include "dormer/objective/next_token.hpp"

#include <optional>

#include <ATen/core/Tensor.h>

#include "dormer/adapter/head.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/operations.hpp"

namespace dormer::objective {
namespace {

LossSums loss_of(const model::LanguageModel& model, const data::TokenBatch& batch, const adapter::Pack& pack,
                 const LossScale& scale) {
  const at::Tensor inputs = batch.inputs();
  const at::Tensor targets = batch.targets().reshape({-1}).contiguous();
  const at::Tensor hidden = model.hidden_states(
      {.tokens = inputs, .document_begin = batch.document_begin(), .recompute_blocks = scale.recompute_blocks}, pack,
      nullptr);
  const adapter::AddedTokens* added = pack.added_tokens();
  const std::optional<adapter::TrainedHead> trained = adapter::trained_head(pack, model.layers());
  tensor::AddedRows rows;
  at::Tensor slot;
  if (added != nullptr) {
    slot = scale.backward ? added->head_gradient() : at::Tensor();
    rows = {.values = &added->head_rows(), .gradient = scale.backward ? &slot : nullptr};
  }
  at::Tensor head_slot;
  if (scale.backward && trained && trained->wants_gradient()) {
    head_slot = trained->gradient();
    rows.head_gradient = &head_slot;
  }
  const tensor::CrossEntropySums sums = tensor::linear_cross_entropy(
      hidden, trained ? trained->weight() : model.head().values(), targets,
      {.divisor = scale.divisor, .backward = scale.backward, .soft_cap = model.facts().logit_soft_cap}, rows);
  if (scale.backward && trained) {
    trained->announce_gradient();
  }
  return {sums.loss_sum, sums.targets};
}

}  // namespace

LossSums next_token_loss(const model::LanguageModel& model, const data::TokenBatch& batch, const adapter::Pack& pack,
                         const LossScale& scale) {
  if (scale.backward) {
    return loss_of(model, batch, pack, scale);
  }
  const tensor::NoRecording guard;
  return loss_of(model, batch, pack, scale);
}

at::Tensor logits(const model::LanguageModel& model, const at::Tensor& tokens, const adapter::Pack& pack) {
  const tensor::NoRecording guard;
  const at::Tensor hidden = model.hidden_states({.tokens = tokens}, pack, nullptr);
  const std::optional<adapter::TrainedHead> trained = adapter::trained_head(pack, model.layers());
  const at::Tensor result = adapter::adapted_head(hidden, trained ? trained->weight() : model.head().values(), pack);
  if (model.facts().logit_soft_cap > 0.0) {
    tensor::soft_cap_(result, model.facts().logit_soft_cap);
  }
  return result.to(at::kFloat);
}

}  // namespace dormer::objective
