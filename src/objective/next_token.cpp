#include "dormer/objective/next_token.hpp"

#include <optional>

#include <ATen/core/Tensor.h>

#include "dormer/adapter/head.hpp"
#include "dormer/core/error.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/operations.hpp"

namespace dormer::objective {
namespace {

std::vector<tensor::CrossEntropyPart> parts_of(const adapter::Pack& pack, std::span<const double> divisors,
                                               std::int64_t rows) {
  invariant(divisors.size() == pack.segments.size(), "{} divisors of {} segments", divisors.size(),
            pack.segments.size());
  std::vector<tensor::CrossEntropyPart> parts;
  for (std::size_t i = 0; i < divisors.size(); ++i) {
    parts.push_back({.rows = rows / pack.samples() * pack.segments[i].samples, .divisor = divisors[i]});
  }
  return parts;
}

std::vector<LossSums> losses_of(const model::LanguageModel& model, const data::TokenBatch& batch,
                                const adapter::Pack& pack, std::span<const double> divisors, const LossScale& scale) {
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
  const std::vector<tensor::CrossEntropySums> sums = tensor::linear_cross_entropy(
      hidden, trained ? trained->weight() : model.head().values(), targets, parts_of(pack, divisors, targets.size(0)),
      {.backward = scale.backward, .soft_cap = model.facts().logit_soft_cap}, rows);
  if (scale.backward && trained) {
    trained->announce_gradient();
  }
  std::vector<LossSums> losses;
  for (const tensor::CrossEntropySums& sum : sums) {
    losses.push_back({sum.loss_sum, sum.targets});
  }
  return losses;
}

}  // namespace

std::vector<LossSums> next_token_losses(const model::LanguageModel& model, const data::TokenBatch& batch,
                                        const adapter::Pack& pack, std::span<const double> divisors,
                                        const LossScale& scale) {
  if (scale.backward) {
    return losses_of(model, batch, pack, divisors, scale);
  }
  const tensor::NoRecording guard;
  return losses_of(model, batch, pack, divisors, scale);
}

LossSums next_token_loss(const model::LanguageModel& model, const data::TokenBatch& batch, const adapter::Pack& pack,
                         const LossScale& scale) {
  const std::vector<double> divisors(pack.segments.size(), scale.divisor);
  LossSums total;
  for (const LossSums& sums : next_token_losses(model, batch, pack, divisors, scale)) {
    total.loss_sum += sums.loss_sum;
    total.tokens += sums.tokens;
  }
  return total;
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
