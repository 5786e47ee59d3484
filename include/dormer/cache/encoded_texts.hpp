#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/cache/array_store.hpp"
#include "dormer/data/clip_tokenizer.hpp"
#include "dormer/model/image_model.hpp"

namespace dormer::cache {

/// The tokens of one text as each text encoder of a model reads them.
struct EncoderTokens {
  std::int64_t rows = 1;                          ///< pieces of the text, the same for all encoders
  std::vector<std::vector<std::int64_t>> tokens;  ///< one a text encoder: [rows, positions]
};

/// How texts become states.
struct TextRules {
  std::int64_t skipped_layers = 0;
  std::int64_t max_tokens = 75;
};

/// Pure. Usage errors for a `max_tokens` that is no multiple of an encoder's positions less two.
[[nodiscard]] EncoderTokens tokens_of(const std::string& text, std::span<const data::ClipTokenizer> tokenizers,
                                      const TextRules& rules);

/// What a text's states depend on: its tokens, the layers that are skipped, and the text encoders with their dtype.
/// Pure.
[[nodiscard]] std::string text_key(const std::string& text_encoders, DType dtype, const EncoderTokens& tokens,
                                   const TextRules& rules);

/// The states of texts, [texts, tokens, width], and where the model has it the pooled one [texts, width]. Pieces of a
/// long text stand in one row as kohya's trainer joins them: the first begin, all tokens, the last end; pooled is the
/// first piece.
[[nodiscard]] model::TextConditions conditions_of(const model::ImageModel& model, std::span<const EncoderTokens> texts,
                                                  const TextRules& rules, const adapter::Pack& pack);

struct TextJob {
  std::string key;  ///< `text_key`
  EncoderTokens tokens;
};

/// Encodes every text and adds "states" [tokens, width] and "pooled" [width] to the store, as `encode_images` does.
void encode_texts(const model::ImageModel& model, std::span<const TextJob> jobs, const TextRules& rules,
                  ArrayStore& store, const std::function<bool()>& progress);

}  // namespace dormer::cache
