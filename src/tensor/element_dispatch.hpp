#pragma once

#include <ATen/core/Tensor.h>

#include "dormer/core/error.hpp"
#include "dormer/kernels/rows.hpp"
#include "dormer/kernels/scaling.hpp"
#include "dormer/tensor/device_kernels.hpp"

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

}  // namespace dormer::tensor
