#include "dormer/data/token_batch.hpp"

#include <ATen/core/Tensor.h>

namespace dormer::data {

TokenBatch::TokenBatch(const at::Tensor& tokens, const at::Tensor& targets, const at::Tensor& document_begin)
    : parts_{tokens, targets} {
  if (document_begin.defined()) {
    parts_.push_back(document_begin);
  }
}

TokenBatch TokenBatch::of_rows(const at::Tensor& tokens) {
  return {tokens, tokens.narrow(1, 1, tokens.size(1) - 1).contiguous(), {}};
}

const at::Tensor& TokenBatch::tokens() const {
  return parts_[0];
}
at::Tensor TokenBatch::inputs() const {
  return tokens().narrow(1, 0, targets().size(1)).contiguous();
}
const at::Tensor& TokenBatch::targets() const {
  return parts_[1];
}
const at::Tensor* TokenBatch::document_begin() const {
  return parts_.size() > 2 ? &parts_[2] : nullptr;
}

}  // namespace dormer::data
