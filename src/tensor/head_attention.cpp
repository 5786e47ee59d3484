#include <array>
#include <cmath>
#include <tuple>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/image_operations.hpp"

namespace dormer::tensor {
namespace {

/// Rows [batch * positions, heads * width] as [batch, heads, positions, width], the same memory.
at::Tensor heads_of(const at::Tensor& rows, const HeadShape& shape, std::int64_t positions) {
  return rows.view({shape.batch, positions, shape.heads, shape.width}).transpose(1, 2);
}

at::Tensor rows_of(const at::Tensor& heads) {
  return heads.transpose(1, 2).reshape({heads.size(0) * heads.size(2), heads.size(1) * heads.size(3)});
}

/// Output like the queries, and the logarithm of every row's sum of exponentials, fp32.
std::pair<at::Tensor, at::Tensor> attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                         const HeadShape& shape) {
  if (query.is_meta()) {
    return {at::empty({shape.batch, shape.queries, shape.heads, shape.width}, query.options()).transpose(1, 2),
            at::empty({shape.batch, shape.heads, shape.queries}, query.options().dtype(at::kFloat))};
  }
  auto [output, sums] = at::_scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, shape.causal);
  return {output, sums};
}

std::vector<at::Tensor> attention_gradients(const std::array<at::Tensor, 5>& saved, const at::Tensor& gradient,
                                            const HeadShape& shape) {
  const auto& [query, key, value, output, sums] = saved;
  if (query.is_meta()) {
    const auto like = [](const at::Tensor& heads) { return at::empty_like(rows_of(heads)); };
    return {like(query), like(key), like(value)};
  }
  const auto [query_gradient, key_gradient, value_gradient] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      heads_of(gradient, shape, shape.queries), query, key, value, output, sums, 0.0, shape.causal);
  return {rows_of(query_gradient), rows_of(key_gradient), rows_of(value_gradient)};
}

}  // namespace

at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const HeadShape& shape) {
  if (!query.is_cpu() && !query.is_meta()) {  // LibTorch chooses the device's own
    return rows_of(at::scaled_dot_product_attention(heads_of(query, shape, shape.queries),
                                                    heads_of(key, shape, shape.keys),
                                                    heads_of(value, shape, shape.keys), {}, 0.0, shape.causal));
  }
  const at::Tensor q = heads_of(detached(query), shape, shape.queries);
  const at::Tensor k = heads_of(detached(key), shape, shape.keys);
  const at::Tensor v = heads_of(detached(value), shape, shape.keys);
  const auto [output, sums] = attend(q, k, v, shape);
  at::Tensor result = rows_of(output);
  if (records({query, key, value})) {
    // The output is kept as its rows lie: the result's own memory.
    record(result, {query, key, value}, "Attention",
           [saved = std::array<at::Tensor, 5>{q, k, v, output, sums}, shape](const at::Tensor& gradient,
                                                                             const std::vector<bool>&) {
             return attention_gradients(saved, gradient, shape);
           });
  }
  return result;
}

}  // namespace dormer::tensor
