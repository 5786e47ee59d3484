#pragma once

#include <vector>

#include "dormer/tensor/forward.hpp"

namespace dormer::tensor {

/// y[t,o] = y[t,o] * factor[o] + bias[o], in place. y [rows, width] float32 or bfloat16, factor fp32 [width], bias
/// [width] of y's dtype or undefined. Not recorded.
void scale_columns(at::Tensor& y, const at::Tensor& factor, const at::Tensor& bias);

/// scaled = gradient * factor (which may be the gradient itself); adds to `sums` (fp32 [width]) per column `sum_factor`
/// times the sum over rows of gradient * (y - bias), in an order that no thread count changes.
void scale_columns_backward(const at::Tensor& gradient, const at::Tensor& y, const at::Tensor& bias,
                            const at::Tensor& factor, const at::Tensor& sum_factor, at::Tensor sums,
                            const at::Tensor& scaled);

/// The same for y [samples, channels, …], contiguous, with factor fp32 [channels] and bias [channels] of y's dtype or
/// undefined.
void scale_rows(at::Tensor& y, const at::Tensor& factor, const at::Tensor& bias);

/// As `scale_columns_backward`, for contiguous tensors [samples, channels, …] and sums over all but channels.
void scale_rows_backward(const at::Tensor& gradient, const at::Tensor& y, const at::Tensor& bias,
                         const at::Tensor& factor, const at::Tensor& sum_factor, at::Tensor sums,
                         const at::Tensor& scaled);

/// The parts one below the other; a single part is returned as it is.
[[nodiscard]] at::Tensor joined_rows(const std::vector<at::Tensor>& parts);

}  // namespace dormer::tensor
