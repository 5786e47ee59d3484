#include "dormer/tensor/column_scaling.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sum.h>

#include "element_dispatch.hpp"

namespace dormer::tensor {

void scale_columns(at::Tensor& y, const at::Tensor& factor, const at::Tensor& bias) {
  dispatch_element(y, [&]<typename Element>(Element) {
    const kernels::ScaleColumnsArguments<Element> arguments{
        data<Element>(y), data<const float>(factor), bias.defined() ? data<const Element>(bias) : nullptr, y.size(1)};
    kernels_for(y).run(arguments, y.size(0));
  });
}

void scale_columns_backward(const at::Tensor& gradient, const at::Tensor& y, const at::Tensor& bias,
                            const at::Tensor& factor, const at::Tensor& sum_factor, at::Tensor sums,
                            const at::Tensor& scaled) {
  const at::Tensor products = at::empty({gradient.size(1)}, gradient.options().dtype(at::kFloat));
  dispatch_element(gradient, [&]<typename Element>(Element) {
    const kernels::ScaleColumnsBackwardArguments<Element> arguments{
        data<const Element>(gradient),
        data<const Element>(y),
        bias.defined() ? data<const Element>(bias) : nullptr,
        data<const float>(factor),
        data<Element>(scaled),
        data<float>(products),
        gradient.size(0),
        gradient.size(1)};
    kernels_for(gradient).run(arguments, gradient.size(1));
  });
  sums.addcmul_(products, sum_factor);
}

void scale_rows(at::Tensor& y, const at::Tensor& factor, const at::Tensor& bias) {
  const std::int64_t rows = y.size(0) * y.size(1);
  dispatch_element(y, [&]<typename Element>(Element) {
    const kernels::ScaleRowsArguments<Element> arguments{data<Element>(y), data<const float>(factor),
                                                         bias.defined() ? data<const Element>(bias) : nullptr,
                                                         y.size(1), y.numel() / rows};
    kernels_for(y).run(arguments, rows);
  });
}

void scale_rows_backward(const at::Tensor& gradient, const at::Tensor& y, const at::Tensor& bias,
                         const at::Tensor& factor, const at::Tensor& sum_factor, at::Tensor sums,
                         const at::Tensor& scaled) {
  const std::int64_t rows = y.size(0) * y.size(1);
  const at::Tensor products = at::empty({y.size(0), y.size(1)}, gradient.options().dtype(at::kFloat));
  dispatch_element(gradient, [&]<typename Element>(Element) {
    const kernels::ScaleRowsBackwardArguments<Element> arguments{data<const Element>(gradient),
                                                                 data<const Element>(y),
                                                                 bias.defined() ? data<const Element>(bias) : nullptr,
                                                                 data<const float>(factor),
                                                                 data<Element>(scaled),
                                                                 data<float>(products),
                                                                 y.size(1),
                                                                 y.numel() / rows};
    kernels_for(gradient).run(arguments, rows);
  });
  sums.addcmul_(at::sum(products, {0}), sum_factor);
}

at::Tensor joined_rows(const std::vector<at::Tensor>& parts) {
  return parts.size() == 1 ? parts.front() : at::cat(parts, 0);
}

}  // namespace dormer::tensor
