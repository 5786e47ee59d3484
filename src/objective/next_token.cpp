#include "dormer/objective/next_token.hpp"

#include <ATen/core/Tensor.h>

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
  tensor::AddedRows rows;
  at::Tensor slot;
  if (added != nullptr) {
    slot = scale.backward ? added->head_gradient() : at::Tensor();
    rows = {.values = &added->head_rows(), .gradient = scale.backward ? &slot : nullptr};
  }
  const tensor::CrossEntropySums sums = tensor::linear_cross_entropy(
      hidden, model.head().values(), targets,
      {.divisor = scale.divisor, .backward = scale.backward, .soft_cap = model.facts().logit_soft_cap}, rows);
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
  const at::Tensor result = adapter::adapted_head(hidden, model.head(), pack);
  if (model.facts().logit_soft_cap > 0.0) {
    tensor::soft_cap_(result, model.facts().logit_soft_cap);
  }
  return result.to(at::kFloat);
}

}  // namespace dormer::objective
