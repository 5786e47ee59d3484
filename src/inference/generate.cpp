#include "dormer/inference/generate.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/linear.h>

#include "dormer/adapter/head.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/random_key.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/operations.hpp"
#include "inference/pick_token.hpp"

namespace dormer::inference {
namespace {

void check_options(const GenerateOptions& options) {
  require(options.max_new_tokens >= 1, Fault::kUsage, "max_new_tokens is {}, but must be at least 1",
          options.max_new_tokens);
  require(options.sampling.temperature >= 0.0 && options.sampling.temperature <= 100.0, Fault::kUsage,
          "temperature is {}, but must be between 0 (the likeliest token) and 100", options.sampling.temperature);
  require(options.sampling.top_p > 0.0 && options.sampling.top_p <= 1.0, Fault::kUsage,
          "top_p is {}, but must be above 0 and at most 1", options.sampling.top_p);
}

void check_prompt(const std::vector<std::int64_t>& prompt, const model::LanguageModelFacts& facts,
                  std::int64_t vocabulary) {
  require(!prompt.empty(), Fault::kInput, "the prompt has no tokens; give at least one");
  for (std::size_t i = 0; i < prompt.size(); ++i) {
    require(prompt[i] >= 0 && prompt[i] < vocabulary, Fault::kInput,
            "token {} of the prompt is {}, but the model's vocabulary ends at {}; was it made with another tokenizer?",
            i, prompt[i], vocabulary - 1);
  }
  require(std::ssize(prompt) <= facts.maximum_positions, Fault::kInput,
          "the prompt has {} tokens and the model {} positions; shorten the prompt", prompt.size(),
          facts.maximum_positions);
}

/// Logits of the token that follows `tokens` (and what the cache holds), in fp32 on the CPU.
at::Tensor next_logits(const model::LanguageModel& model, const adapter::Pack& pack, std::span<std::int64_t> tokens,
                       model::KeyValueCache* cache) {
  const at::Tensor batch = at::from_blob(tokens.data(), {1, std::ssize(tokens)}, at::kLong);
  const at::Tensor hidden = model.hidden_states({.tokens = batch}, pack, cache);
  const at::Tensor last = hidden.narrow(0, hidden.size(0) - 1, 1);
  const std::optional<adapter::TrainedHead> trained = adapter::trained_head(pack, model.layers());
  const at::Tensor& head = trained ? trained->weight() : model.head().values();
  const at::Tensor logits =
      pack.added_tokens() == nullptr ? at::linear(last, head) : adapter::adapted_head(last, head, pack);
  if (model.facts().logit_soft_cap > 0.0) {
    tensor::soft_cap_(logits, model.facts().logit_soft_cap);
  }
  return logits.to(at::kFloat).to(at::kCPU).contiguous();
}

}  // namespace

Generation generate(const model::LanguageModel& model, const adapter::AdapterSet* adapters,
                    std::vector<std::int64_t> prompt, const GenerateOptions& options) {
  const model::LanguageModelFacts& facts = model.facts();
  check_options(options);
  const adapter::AddedTokens* added = adapters == nullptr ? nullptr : adapters->added_tokens();
  check_prompt(prompt, facts, facts.vocabulary + (added == nullptr ? 0 : added->count()));
  const tensor::NoRecording guard;
  const RandomKey key = RandomKey{options.seed}.child("generate");
  const adapter::Pack pack = adapter::Pack::solo(adapters, 1);
  const std::unique_ptr<model::KeyValueCache> cache = options.use_cache ? model.make_cache() : nullptr;

  Generation result;
  std::vector<std::int64_t> text = std::move(prompt);
  std::size_t read = 0;  // tokens that the cache holds
  for (std::int64_t step = 0; step < options.max_new_tokens; ++step) {
    if (std::ssize(text) > facts.maximum_positions) {
      result.ending = Ending::kPositions;
      break;
    }
    const at::Tensor logits = next_logits(model, pack, std::span(text).subspan(read), cache.get());
    read = cache ? text.size() : 0;
    const PickedToken picked = pick_token({logits.const_data_ptr<float>(), static_cast<std::size_t>(logits.numel())},
                                          options.sampling, philox(key, static_cast<std::uint64_t>(step))[0]);
    if (std::ranges::find(facts.end_of_text, picked.token) != facts.end_of_text.end()) {
      result.ending = Ending::kEndOfText;
      break;
    }
    text.push_back(picked.token);
    result.tokens.push_back(picked.token);
    result.log_probabilities.push_back(picked.log_probability);
  }
  return result;
}

}  // namespace dormer::inference
