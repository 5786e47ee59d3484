#pragma once

#include <cstdint>
#include <vector>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/model/language_model.hpp"

namespace dormer::inference {

/// How the next token is chosen from the model's distribution.
struct Sampling {
  double temperature = 0.0;  ///< logits are divided by it; 0: always the likeliest token
  double top_p = 1.0;        ///< only the likeliest tokens that together reach this probability
};

struct GenerateOptions {
  std::int64_t max_new_tokens = 128;
  Sampling sampling{};
  std::uint64_t seed = 0;  ///< the draw of a step is a pure function of (seed, step)
  bool use_cache = true;   ///< false: every step reads the whole text again (for tests)
};

enum class Ending : std::uint8_t {
  kEndOfText,  ///< the model chose an end-of-text token
  kLength,     ///< max_new_tokens were made
  kPositions,  ///< the model has no position left
};

struct Generation {
  std::vector<std::int64_t> tokens;  ///< what follows the prompt, without the end-of-text token
  std::vector<double>
      log_probabilities;  ///< of each token under the model's own distribution (temperature 1, no top_p)
  Ending ending = Ending::kLength;
};

/// Continues `prompt`. `adapters` may be null (the base alone); its norm caches must be fresh (AdapterSet::refresh).
/// Throws a usage error for options out of range, an input error for an empty prompt, one of tokens that the model does
/// not have, or one that fills its positions, and a numerical error where logits are not finite.
[[nodiscard]] Generation generate(const model::LanguageModel& model, const adapter::AdapterSet* adapters,
                                  std::vector<std::int64_t> prompt, const GenerateOptions& options);

}  // namespace dormer::inference
