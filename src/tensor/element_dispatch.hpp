#pragma once

#include <algorithm>
#include <cstdint>

#include <ATen/core/Tensor.h>

#include "dormer/core/error.hpp"
#include "dormer/kernels/rows.hpp"
#include "dormer/tensor/process.hpp"

namespace dormer::tensor {

/// Calls `body` with a value of the kernels' element type for this tensor's dtype.
template <typename Body>
void dispatch_element(const at::Tensor& values, const Body& body) {
  switch (values.scalar_type()) {
    case at::kFloat:
      body(float{});
      return;
    case at::kBFloat16:
      body(kernels::BFloat16{});
      return;
    default:
      fail(Fault::kBug, "kernels take float32 and bfloat16, not scalar type {}",
           static_cast<int>(values.scalar_type()));
  }
}

/// The memory of a contiguous tensor as the kernels' element type.
template <typename Element>
Element* data(const at::Tensor& values) {
  invariant(values.is_contiguous(), "kernels take contiguous tensors");
  return static_cast<Element*>(values.data_ptr());
}

/// Shares rows of `width` elements among LibTorch's threads, at least 16 Ki elements each.
template <typename Body>
void for_rows(std::int64_t rows, std::int64_t width, const Body& body) {
  const std::int64_t grain = std::max<std::int64_t>(1, 16'384 / std::max<std::int64_t>(1, width));
  for_parts(rows, grain, [&](std::int64_t begin, std::int64_t end) { body(kernels::Range{begin, end}); });
}

}  // namespace dormer::tensor
