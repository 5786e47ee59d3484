#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dormer/tensor/base_weight.hpp"
#include "dormer/tensor/flat_space.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::adapter {

struct Pack;

/// Rows for tokens that the tokenizer has and the model has not: `count` of them, numbered after its last.
struct AddedTokensRequest {
  std::int64_t count = 0;          ///< 0: none
  tensor::BaseWeight embedding{};  ///< [vocabulary, hidden], "model.embed_tokens.weight"
  tensor::BaseWeight head{};       ///< undefined where the embedding is the head
};

/// The trained rows, in the trial's flat space: those of the embedding, and of the head where it is another table. Both
/// start at the mean of the table's rows, as transformers' resize_token_embeddings does but for its tiny noise.
class AddedTokens {
 public:
  static constexpr const char* kSuffix = ".added_tokens";  ///< of the parameters' names, after the module's
  /// Adds the parameters to a space that is not yet allocated and outlives this.
  AddedTokens(const AddedTokensRequest& request, tensor::FlatSpace& space);
  ~AddedTokens();

  void initialize();
  /// Brings copies in the compute dtype up to the parameters. Once per generation.
  void refresh();

  [[nodiscard]] std::int64_t first_token() const;  ///< the model's vocabulary
  [[nodiscard]] std::int64_t count() const;
  /// "model.embed_tokens", and "lm_head" where the head is not tied; parameters are named after them, with `kSuffix`.
  [[nodiscard]] std::vector<std::string> modules() const;
  [[nodiscard]] const at::Tensor& embedding_rows() const;  ///< [count, hidden], compute dtype
  [[nodiscard]] const at::Tensor& head_rows() const;       ///< the same ones where the head is tied
  /// Adds to the rows (local numbers, int64) of the embedding's gradient slot, and says that all gradients are there:
  /// in a backward pass the embedding comes last.
  void add_embedding_gradient(const at::Tensor& rows, const at::Tensor& gradient) const;
  [[nodiscard]] at::Tensor head_gradient() const;  ///< fp32 [count, hidden]: the bound slot

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Embedding rows of `tokens` (int64, any shape): [tokens, hidden], not yet scaled, with the trained rows of the pack's
/// trials for added tokens. One differentiable operation.
[[nodiscard]] at::Tensor adapted_embedding(const at::Tensor& tokens, const tensor::BaseWeight& embedding,
                                           const Pack& pack);

/// hidden [rows, width] times the head transposed, [rows, vocabulary and added tokens]. Not recorded; for packs of one
/// trial.
[[nodiscard]] at::Tensor adapted_head(const at::Tensor& hidden, const at::Tensor& head, const Pack& pack);

}  // namespace dormer::adapter
