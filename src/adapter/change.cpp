#include "dormer/adapter/change.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/nonzero.h>

namespace dormer::adapter {

void Change::replace_cancelling_norms(const tensor::BaseWeight& weight, const at::Tensor& cancels,
                                      const at::Tensor& norm) const {
  const at::Tensor rows = at::nonzero(cancels).reshape({-1});
  if (rows.numel() == 0) {
    return;
  }
  const at::Tensor dense = weight.values().index_select(0, rows).to(at::kDouble).add_(dense_rows(rows));
  norm.index_copy_(0, rows, at::linalg_vector_norm(dense, 2, at::IntArrayRef{1}).to(at::kFloat));
}

}  // namespace dormer::adapter
