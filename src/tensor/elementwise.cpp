#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sum.h>

#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/operations.hpp"
#include "element_dispatch.hpp"

namespace dormer::tensor {
namespace {

at::Tensor rms_norm_gradient(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& inverse_rms,
                             const at::Tensor& gradient) {
  at::Tensor result = at::empty_like(x);
  dispatch_element(x, [&]<typename Element>(Element) {
    const kernels::RmsNormBackwardArguments<Element> arguments{
        data<const Element>(x),         data<const float>(weight), data<const Element>(gradient),
        data<const float>(inverse_rms), data<Element>(result),     x.size(1)};
    kernels_for(x).run(arguments, x.size(0));
  });
  return result;
}

/// 1 / rms of every row, fp32 [rows].
at::Tensor inverse_rms_of(const at::Tensor& x, double epsilon) {
  return at::rsqrt(at::mean(x.to(at::kFloat).square(), at::IntArrayRef{1}).add_(epsilon));
}

}  // namespace

at::Tensor rms_norm_gradient(const at::Tensor& x, const at::Tensor& weight, double epsilon,
                             const at::Tensor& gradient) {
  return rms_norm_gradient(x, weight, inverse_rms_of(x, epsilon), gradient);
}

at::Tensor rms_norm_weight_gradient(const at::Tensor& x, double epsilon, const at::Tensor& gradient) {
  const at::Tensor normed = at::mul(x.to(at::kFloat), inverse_rms_of(x, epsilon).unsqueeze(1));
  return at::sum(normed.mul_(gradient), {0});
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  at::Tensor y = at::empty(x.sizes(), x.options().requires_grad(false));
  const at::Tensor inverse_rms = at::empty({x.size(0)}, x.options().dtype(at::kFloat));
  dispatch_element(x, [&]<typename Element>(Element) {
    const kernels::RmsNormArguments<Element> arguments{
        data<const Element>(x),     data<const float>(weight), data<Element>(y), data<float>(inverse_rms), x.size(1),
        static_cast<float>(epsilon)};
    kernels_for(x).run(arguments, x.size(0));
  });
  record(y, {x}, "RmsNorm",
         [x = detached(x), weight, inverse_rms](const at::Tensor& gradient, const std::vector<bool>&) {
           return std::vector<at::Tensor>{rms_norm_gradient(x, weight, inverse_rms, gradient)};
         });
  return y;
}

at::Tensor gated_unit(const at::Tensor& gate, const at::Tensor& up, GateFunction function) {
  at::Tensor y = at::empty(gate.sizes(), gate.options().requires_grad(false));
  dispatch_element(gate, [&]<typename Element>(Element) {
    const kernels::GatedUnitArguments<Element> arguments{data<const Element>(gate), data<const Element>(up),
                                                         data<Element>(y), function};
    kernels_for(gate).run(arguments, gate.numel());
  });
  record(y, {gate, up}, "GatedUnit",
         [gate = detached(gate), up = detached(up), function](const at::Tensor& gradient, const std::vector<bool>&) {
           at::Tensor gate_gradient = at::empty_like(gate);
           at::Tensor up_gradient = at::empty_like(up);
           dispatch_element(gate, [&]<typename Element>(Element) {
             const kernels::GatedUnitBackwardArguments<Element> arguments{
                 data<const Element>(gate),    data<const Element>(up),    data<const Element>(gradient),
                 data<Element>(gate_gradient), data<Element>(up_gradient), function};
             kernels_for(gate).run(arguments, gate.numel());
           });
           return std::vector<at::Tensor>{gate_gradient, up_gradient};
         });
  return y;
}

void soft_cap_(const at::Tensor& logits, double cap) {
  dispatch_element(logits, [&]<typename Element>(Element) {
    const kernels::SoftCapArguments<Element> arguments{data<Element>(logits), 1.0F, static_cast<float>(cap)};
    kernels_for(logits).run(arguments, logits.numel());
  });
}

at::Tensor add(const at::Tensor& a, const at::Tensor& b) {
  return at::add(a, b);
}

}  // namespace dormer::tensor
