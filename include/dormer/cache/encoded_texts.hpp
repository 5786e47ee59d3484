#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/cache/array_store.hpp"
#include "dormer/cache/imported_states.hpp"
#include "dormer/data/clip_tokenizer.hpp"
#include "dormer/model/image_model.hpp"

namespace dormer::cache {

/// One text, and its tokens as each text encoder of a model reads them.
struct EncoderTokens {
  std::string text;
  std::int64_t rows = 1;                          ///< pieces of the text, the same for all encoders
  std::vector<std::vector<std::int64_t>> tokens;  ///< one a text encoder: [rows, positions]
};

/// How texts become states.
struct TextRules {
  std::int64_t skipped_layers = 0;
  std::int64_t max_tokens = 75;
  std::shared_ptr<const ImportedStates> imported{};  ///< of one more encoder; null: none
};

/// Pure. Usage errors for a `max_tokens` that is no multiple of an encoder's positions less two.
[[nodiscard]] EncoderTokens tokens_of(const std::string& text, std::span<const data::ClipTokenizer> tokenizers,
                                      const TextRules& rules);

/// What a text's states depend on: its tokens, the layers that are skipped, and the text encoders with their dtype.
/// Imported states are not among them: they are joined where the others are read. Pure.
[[nodiscard]] std::string text_key(const std::string& text_encoders, DType dtype, const EncoderTokens& tokens,
                                   const TextRules& rules);

/// The states of texts, [texts, tokens, width], with imported ones behind them, and where the model has it the pooled
/// one [texts, width]. Pieces of a long text stand in one row as kohya's trainer joins them: the first begin, all
/// tokens, the last end; pooled is the first piece.
[[nodiscard]] model::TextConditions conditions_of(const model::ImageModel& model, std::span<const EncoderTokens> texts,
                                                  const TextRules& rules, const adapter::Pack& pack);

/// States of the model's own encoders, [texts, tokens, width], filled up to the width of imported ones, with those
/// behind them: the text of Stable Diffusion 3 as diffusers' pipeline joins it. What it was given where nothing is
/// imported.
[[nodiscard]] at::Tensor with_imported(const at::Tensor& states, std::span<const EncoderTokens> texts,
                                       const TextRules& rules);

struct TextJob {
  std::string key;  ///< `text_key`
  EncoderTokens tokens;
};

/// Encodes every text and adds "states" [tokens, width] and "pooled" [width] to the store, as `encode_images` does.
void encode_texts(const model::ImageModel& model, std::span<const TextJob> jobs, const TextRules& rules,
                  ArrayStore& store, const std::function<bool()>& progress);

}  // namespace dormer::cache
