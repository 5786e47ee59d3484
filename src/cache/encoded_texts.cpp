#include "dormer/cache/encoded_texts.hpp"

#include <fmt/ranges.h>

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/slice.h>
#include <ATen/ops/stack.h>

#include "dormer/core/error.hpp"
#include "dormer/data/token_chunks.hpp"
#include "dormer/tensor/differentiable.hpp"

namespace dormer::cache {
namespace {

constexpr std::int64_t kFileBytes = std::int64_t{32} << 20;

/// Rows of pieces [texts * rows, positions, width] as one row for each text.
at::Tensor joined(const at::Tensor& states, std::int64_t rows) {
  if (rows == 1) {
    return states;
  }
  const std::int64_t positions = states.size(1);
  const at::Tensor by_text = states.view({-1, rows, positions, states.size(2)});
  const at::Tensor tokens = by_text.narrow(2, 1, positions - 2).reshape({by_text.size(0), -1, states.size(2)});
  return at::cat(
      {by_text.select(1, 0).narrow(1, 0, 1), tokens, by_text.select(1, rows - 1).narrow(1, positions - 1, 1)}, 1);
}

/// By the model's own encoders alone.
model::TextConditions own_conditions(const model::ImageModel& model, std::span<const EncoderTokens> texts,
                                     const TextRules& rules, const adapter::Pack& pack) {
  const std::int64_t rows = texts.front().rows;
  std::vector<at::Tensor> tokens;
  for (std::size_t encoder = 0; encoder < texts.front().tokens.size(); ++encoder) {
    const std::int64_t positions = std::ssize(texts.front().tokens[encoder]) / rows;
    at::Tensor ids = at::empty({std::ssize(texts) * rows, positions}, at::kLong);
    auto* next = ids.mutable_data_ptr<std::int64_t>();
    for (const EncoderTokens& text : texts) {
      invariant(text.rows == rows, "texts of {} and of {} rows in one batch", rows, text.rows);
      next = std::copy(text.tokens[encoder].begin(), text.tokens[encoder].end(), next);
    }
    tokens.push_back(ids);
  }
  const model::TextConditions found = model.conditions(tokens, rules.skipped_layers, pack);
  model::TextConditions result{joined(found.at(0), rows)};
  if (found.size() > 1) {
    result.push_back(at::slice(found[1], 0, 0, found[1].size(0), rows));
  }
  return result;
}

}  // namespace

EncoderTokens tokens_of(const std::string& text, std::span<const data::ClipTokenizer> tokenizers,
                        const TextRules& rules) {
  EncoderTokens result;
  result.text = text;
  for (const data::ClipTokenizer& tokenizer : tokenizers) {
    const data::TokenChunks chunks =
        data::chunk_tokens(tokenizer.encode(text), {.max_tokens = rules.max_tokens,
                                                    .row_length = tokenizer.maximum_length(),
                                                    .begin = tokenizer.begin_token(),
                                                    .end = tokenizer.end_token(),
                                                    .pad = tokenizer.pad_token()});
    result.rows = chunks.rows;
    result.tokens.push_back(chunks.tokens);
  }
  return result;
}

std::string text_key(const std::string& text_encoders, DType dtype, const EncoderTokens& tokens,
                     const TextRules& rules) {
  std::vector<std::string> parts{"text", text_encoders, std::string(name_of(dtype)),
                                 fmt::format("{} rows, {} skipped", tokens.rows, rules.skipped_layers)};
  for (const std::vector<std::int64_t>& ids : tokens.tokens) {
    parts.push_back(fmt::format("{}", fmt::join(ids, ",")));
  }
  return store_key(parts);
}

at::Tensor with_imported(const at::Tensor& states, std::span<const EncoderTokens> texts, const TextRules& rules) {
  if (rules.imported == nullptr) {
    return states;
  }
  std::vector<at::Tensor> imported;
  for (const EncoderTokens& text : texts) {
    imported.push_back(rules.imported->read(text.text));
  }
  const std::int64_t missing = rules.imported->width() - states.size(2);
  require(missing >= 0, Fault::kInput, "imported states are {} wide, those of the model's own encoders {}",
          rules.imported->width(), states.size(2));
  return at::cat({at::constant_pad_nd(states, {0, missing}), at::stack(imported).to(states.options())}, 1);
}

model::TextConditions conditions_of(const model::ImageModel& model, std::span<const EncoderTokens> texts,
                                    const TextRules& rules, const adapter::Pack& pack) {
  model::TextConditions result = own_conditions(model, texts, rules, pack);
  result[0] = with_imported(result[0], texts, rules);
  return result;
}

void encode_texts(const model::ImageModel& model, std::span<const TextJob> jobs, const TextRules& rules,
                  ArrayStore& store, const std::function<bool()>& progress) {
  const tensor::NoRecording guard;
  for (const TextJob& job : jobs) {
    const model::TextConditions found =
        own_conditions(model, {&job.tokens, 1}, rules, adapter::Pack::solo(nullptr, job.tokens.rows));
    store.add(job.key, "states", found[0].select(0, 0));
    if (found.size() > 1) {
      store.add(job.key, "pooled", found[1].select(0, 0));
    }
    if (store.pending_bytes() >= kFileBytes) {
      store.commit();
    }
    if (!progress()) {
      break;
    }
  }
  store.commit();
}

}  // namespace dormer::cache
