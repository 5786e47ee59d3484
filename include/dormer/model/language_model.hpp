#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/core/dtype.hpp"
#include "dormer/tensor/base_weight.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::model {

/// Keys and values of the tokens seen so far, per block; for generation.
class KeyValueCache;

/// What every causal language model tells about itself.
struct LanguageModelFacts {
  std::string family;           ///< "llama"
  std::int64_t vocabulary = 0;  ///< rows of the embedding
  std::int64_t hidden = 0;
  std::int64_t blocks = 0;
  std::int64_t maximum_positions = 0;
  DType compute_dtype = DType::kF32;
  double logit_soft_cap = 0.0;            ///< logits are cap * tanh(logits / cap); 0: none
  std::vector<std::int64_t> end_of_text;  ///< token ids that end a generation
};

/// What a forward pass reads.
struct ModelInput {
  const at::Tensor& tokens;                    ///< int64 [samples, length]; on the host or on the model's device
  const at::Tensor* document_begin = nullptr;  ///< int64 [samples, length]: the position at which each position's
                                               ///< document begins, attention and positions kept apart; null: every row
                                               ///< is one document
  bool recompute_blocks = false;  ///< keep only the input of every block, and compute it again in the backward pass
};

/// A frozen causal language model with sites for adapters. Immutable after loading; safe to share between threads that
/// do not train.
class LanguageModel {
 public:
  virtual ~LanguageModel() = default;
  [[nodiscard]] virtual const LanguageModelFacts& facts() const = 0;
  /// Every frozen layer where an adapter can attach, the embedding first, in a fixed order (site.index is the
  /// position).
  [[nodiscard]] virtual std::span<const adapter::FrozenLayer> layers() const = 0;
  /// Final-normed hidden states [samples*length, hidden]. With a cache the tokens continue what it holds, and it grows;
  /// rows then are one document each.
  [[nodiscard]] virtual at::Tensor hidden_states(const ModelInput& input, const adapter::Pack& pack,
                                                 KeyValueCache* cache) const = 0;
  /// The embedding table [vocabulary, hidden].
  [[nodiscard]] virtual const tensor::BaseWeight& embedding() const = 0;
  /// The output projection [vocabulary, hidden] (the embedding itself where the config ties them).
  [[nodiscard]] virtual const tensor::BaseWeight& head() const = 0;
  [[nodiscard]] virtual std::unique_ptr<KeyValueCache> make_cache() const = 0;
};

/// How and where a model computes.
struct Placement {
  DType dtype = DType::kF32;   ///< of base weights and activations
  std::string device = "cpu";  ///< as LibTorch writes it: "cpu", "cuda:0"; adapters on the model lie there too
};

/// Loads a Hugging Face folder. What it reads may lie on the host; what it returns lies on its device.
[[nodiscard]] std::unique_ptr<LanguageModel> load_language_model(const std::filesystem::path& folder,
                                                                 const Placement& placement);
[[nodiscard]] std::unique_ptr<LanguageModel> load_language_model(const std::filesystem::path& folder,
                                                                 DType compute_dtype);

class KeyValueCache {
 public:
  virtual ~KeyValueCache() = default;
  [[nodiscard]] virtual std::int64_t length() const = 0;  ///< tokens held
};

}  // namespace dormer::model
