#include "dormer/tensor/image_operations.hpp"

#include <array>
#include <cmath>
#include <tuple>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/native_group_norm.h>
#include <ATen/ops/native_group_norm_backward.h>
#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/native_layer_norm_backward.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>

#include "dormer/tensor/differentiable.hpp"

namespace dormer::tensor {
namespace {

constexpr std::array<bool, 3> kInputAlone{true, false, false};
constexpr double kQuickGeluSlope = 1.702;

/// What GroupNorm's functions are told of an image.
struct GroupSizes {
  std::int64_t samples;
  std::int64_t channels;
  std::int64_t extent;
  std::int64_t groups;
};

std::tuple<at::Tensor, at::Tensor, at::Tensor> normed_groups(const at::Tensor& x, const at::Tensor& weight,
                                                             const at::Tensor& bias, const GroupSizes& sizes,
                                                             double epsilon) {
  return at::native_group_norm(x, weight, bias, sizes.samples, sizes.channels, sizes.extent, sizes.groups, epsilon);
}

at::Tensor activated(const at::Tensor& x, Activation function) {
  switch (function) {
    case Activation::kSilu:
      return at::silu(x);
    case Activation::kGelu:
      return at::gelu(x);
    case Activation::kGeluTanh:
      return at::gelu(x, "tanh");
    case Activation::kQuickGelu:
      break;
  }
  return at::sigmoid(at::mul(x, kQuickGeluSlope)).mul_(x);
}

at::Tensor activation_gradient(const at::Tensor& gradient, const at::Tensor& x, Activation function) {
  switch (function) {
    case Activation::kSilu:
      return at::silu_backward(gradient, x);
    case Activation::kGelu:
      return at::gelu_backward(gradient, x);
    case Activation::kGeluTanh:
      return at::gelu_backward(gradient, x, "tanh");
    case Activation::kQuickGelu:
      break;
  }
  // d/dx x s(kx) = d/du u s(u) at u = kx.
  return at::silu_backward(gradient, at::mul(x, kQuickGeluSlope));
}

}  // namespace

at::Tensor group_norm(const at::Tensor& x, const AffineNorm& norm, std::int64_t groups, bool silu) {
  const at::Tensor input = detached(x).contiguous();
  const GroupSizes sizes{input.size(0), input.size(1), input.numel() / (input.size(0) * input.size(1)), groups};
  auto [y, mean, inverse_deviation] = normed_groups(input, norm.weight, norm.bias, sizes, norm.epsilon);
  if (silu) {
    at::silu_(y);
  }
  record(y, {x}, "GroupNorm",
         [input, weight = norm.weight, bias = norm.bias, epsilon = norm.epsilon, sizes, silu, mean = mean,
          inverse_deviation = inverse_deviation](const at::Tensor& gradient, const std::vector<bool>&) {
           at::Tensor inner = gradient;
           if (silu) {  // the normed values are made again rather than kept
             inner = at::silu_backward(gradient, std::get<0>(normed_groups(input, weight, bias, sizes, epsilon)));
           }
           return std::vector<at::Tensor>{
               std::get<0>(at::native_group_norm_backward(inner, input, mean, inverse_deviation, weight, sizes.samples,
                                                          sizes.channels, sizes.extent, sizes.groups, kInputAlone))};
         });
  return y;
}

at::Tensor layer_norm(const at::Tensor& x, const AffineNorm& norm) {
  const at::Tensor input = detached(x);
  const std::array<std::int64_t, 1> width{x.size(1)};
  auto [y, mean, inverse_deviation] = at::native_layer_norm(input, width, norm.weight, norm.bias, norm.epsilon);
  record(y, {x}, "LayerNorm",
         [input, weight = norm.weight, bias = norm.bias, width, mean = mean, inverse_deviation = inverse_deviation](
             const at::Tensor& gradient, const std::vector<bool>&) {
           return std::vector<at::Tensor>{std::get<0>(at::native_layer_norm_backward(
               gradient, input, width, mean, inverse_deviation, weight, bias, kInputAlone))};
         });
  return y;
}

at::Tensor activation(const at::Tensor& x, Activation function) {
  const at::Tensor input = detached(x);
  at::Tensor y = activated(input, function);
  record(y, {x}, "Activation", [input, function](const at::Tensor& gradient, const std::vector<bool>&) {
    return std::vector<at::Tensor>{activation_gradient(gradient, input, function)};
  });
  return y;
}

at::Tensor gelu_gated(const at::Tensor& x) {
  const at::Tensor input = detached(x);
  const std::int64_t width = x.size(1) / 2;
  at::Tensor y = at::gelu(input.narrow(1, width, width)).mul_(input.narrow(1, 0, width));
  record(y, {x}, "GeluGated", [input, width](const at::Tensor& gradient, const std::vector<bool>&) {
    const at::Tensor value = input.narrow(1, 0, width);
    const at::Tensor gate = input.narrow(1, width, width);
    at::Tensor result = at::empty_like(input);
    at::Tensor value_part = result.narrow(1, 0, width);
    at::mul_out(value_part, gradient, at::gelu(gate));
    at::Tensor gate_part = result.narrow(1, width, width);
    at::gelu_backward_out(gate_part, at::mul(gradient, value), gate);
    return std::vector<at::Tensor>{result};
  });
  return y;
}

at::Tensor rows_of_image(const at::Tensor& image) {
  return image.permute({0, 2, 3, 1}).reshape({-1, image.size(1)}).contiguous();
}

at::Tensor image_of_rows(const at::Tensor& rows, std::int64_t samples, std::int64_t height, std::int64_t width) {
  return rows.view({samples, height, width, rows.size(1)}).permute({0, 3, 1, 2}).contiguous();
}

}  // namespace dormer::tensor
