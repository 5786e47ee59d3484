#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/data/token_batch.hpp"
#include "dormer/model/language_model.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::objective {

/// The gradient is that of loss_sum / divisor; with `backward` it is added to the bound slots of the pack's flat
/// spaces.
struct LossScale {
  double divisor = 1.0;
  bool backward = false;
  bool recompute_blocks = false;  ///< trade time for memory: the same bits
};

struct LossSums {
  double loss_sum = 0.0;    ///< over targets, in natural-log units
  std::int64_t tokens = 0;  ///< targets counted
};

/// Next-token cross entropy of a batch over its counted targets.
[[nodiscard]] LossSums next_token_loss(const model::LanguageModel& model, const data::TokenBatch& batch,
                                       const adapter::Pack& pack, const LossScale& scale);

/// The same for a pack of several trials, whose segments cover the batch in order: a sum for each, and `divisors` one
/// for each (`scale.divisor` is not looked at).
[[nodiscard]] std::vector<LossSums> next_token_losses(const model::LanguageModel& model, const data::TokenBatch& batch,
                                                      const adapter::Pack& pack, std::span<const double> divisors,
                                                      const LossScale& scale);

/// Logits fp32 [samples*length, vocabulary] of tokens (int64 [samples, length]); for inspection and comparison.
[[nodiscard]] at::Tensor logits(const model::LanguageModel& model, const at::Tensor& tokens, const adapter::Pack& pack);

}  // namespace dormer::objective
