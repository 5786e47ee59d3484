#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "dormer/interop/stored_adapter.hpp"
#include "dormer/tensor/forward.hpp"

/// Stored layers as plain matrices, straight from the formulas: slow, short, and independent of the arithmetic that
/// trains, which it checks. Matrices are [out, columns]; an embedding's is its transpose, [width, vocabulary].
namespace dormer::interop {

/// Rows [first, first + count) of a matrix: a fresh fp32 tensor [count, columns]. Holds on to nothing but factors of
/// the layer that it was made of, which must outlive it.
using MatrixRows = std::function<at::Tensor(std::int64_t first, std::int64_t count)>;

/// Calls `visit(first, count)` for blocks of rows that together are the layer's matrix, in order: at most
/// adapter::kEffectiveBlock elements each, or one row.
void for_dense_rows(const std::string& name, const StoredLayer& layer,
                    const std::function<void(std::int64_t first, std::int64_t count)>& visit);

/// Δ, scale included. A `full` layer has none (bug).
[[nodiscard]] MatrixRows dense_change(const std::string& name, const StoredLayer& layer);
/// The same of the factors' absolute values: what rounding errors of Δ are measured by.
[[nodiscard]] MatrixRows dense_change_of_magnitudes(const std::string& name, const StoredLayer& layer);
/// What the layer multiplies with in the place of `weight` (any float dtype, in the layer's shape; it must outlive the
/// rows). A weight of another shape is an input fault.
[[nodiscard]] MatrixRows dense_effective_rows(const std::string& name, const StoredLayer& layer,
                                              const at::Tensor& weight);
/// The same of a `full` layer that is an embedding, which nothing in it tells: rows of its weight's transpose.
[[nodiscard]] MatrixRows dense_table_rows(const std::string& name, const StoredLayer& layer, const at::Tensor& weight);
/// What the layer multiplies with whole, in the weight's shape, fp32.
[[nodiscard]] at::Tensor dense_effective_weight(const std::string& name, const StoredLayer& layer,
                                                const at::Tensor& weight);

}  // namespace dormer::interop
