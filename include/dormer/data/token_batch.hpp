#pragma once

#include <vector>

#include "dormer/tensor/forward.hpp"

namespace dormer::data {

/// Rows of tokens as a causal language model learns from them.
class TokenBatch {
 public:
  /// `document_begin` may be undefined: every row is one document.
  TokenBatch(const at::Tensor& tokens, const at::Tensor& targets, const at::Tensor& document_begin);
  /// Every token of rows [samples, length + 1] but the first is a target.
  [[nodiscard]] static TokenBatch of_rows(const at::Tensor& tokens);

  /// int64 [samples, length + 1]; 0 beyond the last document of a row.
  [[nodiscard]] const at::Tensor& tokens() const;
  /// int64 [samples, length]: what the model reads, contiguous.
  [[nodiscard]] at::Tensor inputs() const;
  /// int64 [samples, length]: the token after each input, or -100 where it does not count.
  [[nodiscard]] const at::Tensor& targets() const;
  /// int64 [samples, length]: where each input's document begins; null: every row is one document.
  [[nodiscard]] const at::Tensor* document_begin() const;

 private:
  std::vector<at::Tensor> parts_;  // tokens, targets, and document_begin or nothing
};

}  // namespace dormer::data
