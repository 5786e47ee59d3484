#include "layer_operation.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include <ATen/ops/add.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sum.h>

#include "dormer/core/error.hpp"
#include "dormer/tensor/column_scaling.hpp"
#include "dormer/tensor/frozen_product.hpp"
#include "dormer/tensor/operations.hpp"

namespace dormer::adapter {
namespace {

std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_gradients(const Site& site, const at::Tensor& gradient,
                                                                     const at::Tensor& x, const at::Tensor& weight,
                                                                     std::array<bool, 3> wanted) {
  const Convolution& shape = site.convolution;
  const std::vector<std::int64_t> zeros(shape.kernel.size(), 0);
  return at::convolution_backward(gradient, x, weight, c10::nullopt, shape.stride, shape.padding, shape.dilation, false,
                                  zeros, shape.groups, wanted);
}

/// Numbers of the channels in the shape that multiplies a tensor of this many axes.
at::Tensor by_channel(const at::Tensor& values, std::int64_t axes) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(axes), 1);
  shape.at(1) = values.size(0);
  return values.view(shape);
}

std::vector<std::int64_t> all_but_channels(std::int64_t axes) {
  std::vector<std::int64_t> dimensions{0};
  for (std::int64_t axis = 2; axis < axes; ++axis) {
    dimensions.push_back(axis);
  }
  return dimensions;
}

at::Tensor norm_weight(const Site& site, const at::Tensor& weight) {
  return site.normalization.offset == 0.0 ? weight : weight.add(site.normalization.offset);
}

at::ScalarType sums_dtype(const at::Tensor& values) {
  return values.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

/// Whether the kernels take images as they lie: contiguous (not channels last) and of their dtypes.
bool by_rows(const at::Tensor& image) {
  return image.is_contiguous() && (image.scalar_type() == at::kFloat || image.scalar_type() == at::kBFloat16);
}

}  // namespace

at::Tensor apply_weight(const Site& site, const at::Tensor& x, const at::Tensor& weight) {
  switch (site.form) {
    case LayerForm::kLinear:
    case LayerForm::kHead:
      return tensor::multiply_transposed(x, weight);
    case LayerForm::kNorm:
      return tensor::rms_norm(x, norm_weight(site, weight), site.normalization.epsilon);
    case LayerForm::kEmbedding:
      return at::index_select(weight, 0, x);
    case LayerForm::kConvolution:
      break;
  }
  const Convolution& shape = site.convolution;
  const std::vector<std::int64_t> zeros(shape.kernel.size(), 0);
  return at::convolution(x, weight, c10::nullopt, shape.stride, shape.padding, shape.dilation, false, zeros,
                         shape.groups);
}

at::Tensor input_gradient(const Site& site, const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& weight) {
  switch (site.form) {
    case LayerForm::kLinear:
    case LayerForm::kHead:
      return tensor::multiply(gradient, weight);
    case LayerForm::kNorm:
      return tensor::rms_norm_gradient(x, norm_weight(site, weight), site.normalization.epsilon, gradient);
    case LayerForm::kEmbedding:
      return {};
    case LayerForm::kConvolution:
      break;
  }
  return std::get<0>(convolution_gradients(site, gradient, x, weight, {true, false, false}));
}

at::Tensor weight_gradient(const Site& site, const at::Tensor& gradient, const at::Tensor& x) {
  invariant(site.form != LayerForm::kEmbedding, "{}: no dense gradient of an embedding", site.name);
  if (site.form == LayerForm::kLinear || site.form == LayerForm::kHead) {
    return tensor::multiply(gradient.t(), x);
  }
  if (site.form == LayerForm::kNorm) {
    return tensor::rms_norm_weight_gradient(x, site.normalization.epsilon, gradient);
  }
  std::vector<std::int64_t> sizes{site.out, site.channels()};
  sizes.insert(sizes.end(), site.convolution.kernel.begin(), site.convolution.kernel.end());
  const at::Tensor like = x.new_empty({1}).expand(sizes);  // its shape and dtype are all that is asked of it
  return std::get<1>(convolution_gradients(site, gradient, x, like, {false, true, false}));
}

at::Tensor matrix_rows(const Site& site, const at::Tensor& weight, std::int64_t first, std::int64_t count) {
  if (site.form == LayerForm::kEmbedding) {
    return weight.narrow(1, first, count).t().to(at::kFloat);
  }
  return weight.narrow(0, first, count).reshape({count, site.columns()}).to(at::kFloat);
}

void for_row_blocks(const Site& site, const std::function<void(std::int64_t first, std::int64_t count)>& visit,
                    std::int64_t elements) {
  const std::int64_t rows = std::clamp<std::int64_t>(elements / site.columns(), 1, site.out);
  for (std::int64_t first = 0; first < site.out; first += rows) {
    visit(first, std::min(rows, site.out - first));
  }
}

void for_cached_rows(const Site& site, const at::Tensor& weight,
                     const std::function<void(std::int64_t first, std::int64_t count)>& visit) {
  for_row_blocks(site, visit, weight.is_cpu() ? kCachedElements : kBlockElements);
}

at::Tensor sum_taps(const Site& site, const at::Tensor& columns) {
  return site.taps() == 1 ? columns : at::sum(columns.view({site.channels(), site.taps()}), {1});
}

at::Tensor groups_as_samples(const at::Tensor& image, std::int64_t channels) {
  if (image.size(1) == channels) {
    return image;
  }
  std::vector<std::int64_t> sizes = image.sizes().vec();
  sizes[0] *= sizes[1] / channels;
  sizes[1] = channels;
  return image.reshape(sizes);
}

void scale_channels(at::Tensor& y, const at::Tensor& factor, const at::Tensor& bias) {
  if (y.dim() == 2) {
    tensor::scale_columns(y, factor, bias);
    return;
  }
  if (by_rows(y)) {
    tensor::scale_rows(y, factor, bias);
    return;
  }
  if (y.scalar_type() == at::kFloat) {
    y.mul_(by_channel(factor, y.dim()));
  } else {
    y.copy_(at::mul(y, by_channel(factor, y.dim())));  // in fp32, rounded once
  }
  add_bias(y, bias);
}

at::Tensor scaled_channels(const at::Tensor& x, const at::Tensor& factor) {
  if (x.scalar_type() == at::kFloat && x.is_contiguous()) {
    return at::mul(x, x.dim() == 2 ? factor : by_channel(factor, x.dim()));  // in one pass
  }
  at::Tensor scaled = x.dim() == 2 ? x.clone(at::MemoryFormat::Contiguous) : x.clone();
  scale_channels(scaled, factor, {});
  return scaled;
}

void add_by_channel(at::Tensor slot, const at::Tensor& gradient, const at::Tensor& factor) {
  if (factor.defined()) {
    slot.addcmul_(gradient.to(slot.scalar_type()), by_channel(factor, gradient.dim()));
  } else {
    slot.add_(gradient);
  }
}

void scale_channels_backward(const at::Tensor& gradient, const at::Tensor& y, const at::Tensor& bias,
                             const at::Tensor& factor, const at::Tensor& sum_factor, at::Tensor sums,
                             at::Tensor scaled) {
  if (y.dim() == 2) {
    tensor::scale_columns_backward(gradient, y, bias, factor, sum_factor, std::move(sums), scaled);
    return;
  }
  if (by_rows(gradient) && by_rows(y) && by_rows(scaled)) {
    tensor::scale_rows_backward(gradient, y, bias, factor, sum_factor, std::move(sums), scaled);
    return;
  }
  const std::vector<std::int64_t> others = all_but_channels(y.dim());
  at::Tensor products = at::sum(at::mul(gradient.to(sums_dtype(gradient)), y), others);
  if (bias.defined()) {
    products.sub_(at::sum(gradient, others, false, products.scalar_type()).mul_(bias));
  }
  scaled.copy_(at::mul(gradient, by_channel(factor, gradient.dim())));
  sums.addcmul_(products, sum_factor);
}

void add_bias(at::Tensor& y, const at::Tensor& bias) {
  if (bias.defined()) {
    y.add_(y.dim() == 2 ? bias : by_channel(bias, y.dim()));
  }
}

}  // namespace dormer::adapter
