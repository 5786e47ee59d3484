#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/sum.h>

#include "dormer/adapter/site.hpp"
#include "support/tensor_comparison.hpp"

namespace dormer::test {

/// Layers of every form, with odd sizes, and inputs for them.
inline const std::vector<std::string> kLayerCases{"linear",        "convolution1d", "convolution2d", "grouped2d",
                                                  "convolution3d", "pointwise2d",   "embedding",     "norm"};

inline adapter::Site layer_case_site(const std::string& name) {
  using adapter::LayerForm;
  adapter::Site site{.name = "block.0.q_proj", .group = "attention", .layer = 0, .out = 36, .in = 54};
  if (name == "embedding") {
    site.form = LayerForm::kEmbedding;
    site.in = 61;
  } else if (name == "norm") {
    site.form = LayerForm::kNorm;
    site.in = 1;
    site.normalization = {0.01, 0.5};
  } else if (name != "linear") {
    site.form = LayerForm::kConvolution;
    site.out = 12;
    site.in = 10;
  }
  if (name == "convolution1d") {
    site.convolution = {{3}, {1}, {1}, {1}, 1};
  } else if (name == "convolution2d") {
    site.convolution = {{3, 2}, {2, 1}, {1, 0}, {1, 2}, 1};
  } else if (name == "grouped2d") {
    site.in = 18;
    site.convolution = {{3, 3}, {1, 2}, {1, 1}, {1, 1}, 3};
  } else if (name == "convolution3d") {
    site.convolution = {{2, 3, 1}, {1, 1, 1}, {0, 1, 0}, {1, 1, 1}, 1};
  } else if (name == "pointwise2d") {
    site.convolution = {{1, 1}, {1, 1}, {0, 0}, {1, 1}, 1};
  }
  return site;
}

inline adapter::FrozenLayer layer_case(const std::string& name, bool bias, at::ScalarType dtype = at::kFloat) {
  adapter::FrozenLayer layer;
  layer.site = layer_case_site(name);
  std::vector<std::int64_t> shape{layer.site.out, layer.site.channels()};
  if (layer.site.form == adapter::LayerForm::kEmbedding) {
    shape = {layer.site.in, layer.site.out};
  } else if (layer.site.form == adapter::LayerForm::kNorm) {
    shape = {layer.site.out};
  }
  shape.insert(shape.end(), layer.site.convolution.kernel.begin(), layer.site.convolution.kernel.end());
  const bool norm = layer.site.form == adapter::LayerForm::kNorm;  // of which the weight is fp32 in every model
  layer.weight = {"block.0.q_proj.weight", normal(shape, 71, 0.3).to(norm ? at::kFloat : dtype), nullptr, false};
  if (bias && layer.site.form != adapter::LayerForm::kEmbedding) {
    layer.bias = {"block.0.q_proj.bias", normal({layer.site.out}, 72).to(dtype), nullptr, false};
  }
  return layer;
}

/// `samples` rows, images or tokens.
inline at::Tensor layer_case_input(const adapter::Site& site, std::int64_t samples, std::uint64_t seed,
                                   at::ScalarType dtype = at::kFloat) {
  if (site.form == adapter::LayerForm::kEmbedding) {
    return at::arange(samples, at::kLong).mul(7 + static_cast<std::int64_t>(seed)).remainder(site.in);
  }
  std::vector<std::int64_t> shape{samples, site.form == adapter::LayerForm::kNorm ? site.out : site.in};
  for (std::size_t axis = 0; axis < site.convolution.kernel.size(); ++axis) {
    shape.push_back(5 + static_cast<std::int64_t>(axis));
  }
  return normal(shape, seed).to(dtype);
}

/// The layer with this weight as a matrix [out, columns], in fp64.
inline at::Tensor reference_layer(const adapter::Site& site, const at::Tensor& x, const at::Tensor& matrix,
                                  const at::Tensor& bias) {
  at::Tensor y;
  if (site.form == adapter::LayerForm::kEmbedding) {
    return at::index_select(matrix.t(), 0, x);
  }
  if (site.form == adapter::LayerForm::kLinear) {
    y = at::matmul(x.to(at::kDouble), matrix.t());
    return bias.defined() ? y.add(bias) : y;
  }
  if (site.form == adapter::LayerForm::kNorm) {
    const at::Tensor wide = x.to(at::kDouble);
    const at::Tensor rms = wide.square().mean(at::IntArrayRef{1}, true).add(site.normalization.epsilon).sqrt();
    return wide.div(rms).mul(matrix.reshape({-1}).add(site.normalization.offset));
  }
  const adapter::Convolution& shape = site.convolution;
  std::vector<std::int64_t> sizes{site.out, site.channels()};
  sizes.insert(sizes.end(), shape.kernel.begin(), shape.kernel.end());
  const std::vector<std::int64_t> zeros(shape.kernel.size(), 0);
  return at::convolution(x.to(at::kDouble), matrix.reshape(sizes),
                         bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt, shape.stride, shape.padding,
                         shape.dilation, false, zeros, shape.groups);
}

/// Norms of a matrix on an axis, fp64, spread over its elements.
inline at::Tensor spread_norms(const adapter::Site& site, adapter::Axis axis, const at::Tensor& matrix) {
  const at::Tensor squares = matrix.mul(matrix);
  if (axis == adapter::Axis::kOutput) {
    return at::sum(squares, at::IntArrayRef{1}, true).sqrt().expand(matrix.sizes());
  }
  const at::Tensor channels = at::sum(squares.view({site.out, site.channels(), -1}), at::IntArrayRef{0, 2}).sqrt();
  return channels.view({1, -1, 1}).expand({site.out, site.channels(), site.taps()}).reshape(matrix.sizes());
}

/// One value for every norm, spread over the elements of the matrix.
inline at::Tensor spread(const adapter::Site& site, adapter::Axis axis, const at::Tensor& values) {
  const at::Tensor shaped = axis == adapter::Axis::kOutput ? values.view({-1, 1, 1}) : values.view({1, -1, 1});
  const std::int64_t channels = site.columns() / site.taps();
  return shaped.expand({site.out, channels, site.taps()}).reshape({site.out, -1});
}

}  // namespace dormer::test
