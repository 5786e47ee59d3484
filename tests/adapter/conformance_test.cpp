#include <cmath>
#include <string>
#include <tuple>

#include <ATen/core/Tensor.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/sum.h>
#include <gtest/gtest.h>

#include "adapted_layer.hpp"
#include "adapter/adapter.hpp"
#include "dormer/adapter/kinds.hpp"
#include "dormer/tensor/differentiable.hpp"

namespace dormer::adapter {
namespace {

using test::adapted_layer;
using test::AdaptedLayer;
using test::frozen_layer;
using test::normal;
using test::relative_error;
using test::tolerance;

constexpr std::int64_t kOut = 37;
constexpr std::int64_t kIn = 53;

/// Runs over the registry: a new kind inherits every promise below, plain and decomposed, with bias and without.
class EveryKind : public ::testing::TestWithParam<std::tuple<std::string, bool, bool>> {
 protected:
  [[nodiscard]] std::string kind() const { return std::get<0>(GetParam()); }
  /// A kind that trains the weight itself is plain in both rows.
  [[nodiscard]] bool decompose() const { return std::get<1>(GetParam()) && !whole(); }
  [[nodiscard]] bool whole() const { return adapter_kinds().get("kind", kind()).whole; }
  [[nodiscard]] AdaptedLayer make(bool moved, at::ScalarType dtype = at::kFloat) const {
    return adapted_layer(kind(), decompose(), moved, frozen_layer(kOut, kIn, std::get<2>(GetParam()), dtype));
  }
};

at::Tensor forward(const AdaptedLayer& layer, const at::Tensor& x) {
  return adapted_linear(x, layer.layers[0], Pack::solo(layer.adapters.get(), 1));
}

/// The effective weight in fp64, from the definition: m (W + Δ) / |W + Δ| by rows.
at::Tensor merged_weight(const AdaptedLayer& layer) {
  const Adapter& adapter = *layer.adapters->find(0);
  const at::Tensor delta = adapter.change().dense_rows(at::arange(0, kOut, at::kLong)).to(at::kDouble);
  const at::Tensor sum = layer.layers[0].weight.values().to(at::kDouble).add(delta);
  if (adapter.decomposition() == nullptr) {
    return sum;
  }
  const tensor::FlatSpace& space = layer.adapters->space();
  const at::Tensor magnitude = space.value(space.index_of("block.0.q_proj.magnitude")).to(at::kDouble);
  const at::Tensor norm = at::linalg_vector_norm(sum, 2, at::IntArrayRef{1});
  return sum.mul(magnitude.div(norm).unsqueeze(1));
}

/// The bias in fp64, the trained one where it trains; undefined where there is none.
at::Tensor merged_bias(const AdaptedLayer& layer) {
  const tensor::FlatSpace& space = layer.adapters->space();
  if (space.contains("block.0.q_proj.bias")) {
    return space.value(space.index_of("block.0.q_proj.bias")).to(at::kDouble);
  }
  return layer.layers[0].bias.defined() ? layer.layers[0].bias.values().to(at::kDouble) : at::Tensor();
}

at::Tensor merged_forward(const AdaptedLayer& layer, const at::Tensor& x) {
  at::Tensor y = at::matmul(x.to(at::kDouble), merged_weight(layer).t());
  const at::Tensor bias = merged_bias(layer);
  return bias.defined() ? y.add(bias) : y;
}

TEST_P(EveryKind, IsTheBaseAtTheStart) {
  const AdaptedLayer layer = make(false);
  const at::Tensor x = normal({6, kIn}, 91);
  const at::Tensor base = adapted_linear(x, layer.layers[0], Pack::solo(nullptr, 1));
  if (decompose()) {
    EXPECT_LT(relative_error(forward(layer, x), base), tolerance(at::kFloat, 2));
  } else {
    EXPECT_TRUE(at::equal(forward(layer, x), base));
  }
}

TEST_P(EveryKind, MergedWeightEqualsForward) {
  const AdaptedLayer layer = make(true);
  const at::Tensor x = normal({6, kIn}, 92);
  EXPECT_LT(relative_error(forward(layer, x), merged_forward(layer, x)), tolerance(at::kFloat, kIn));
}

TEST_P(EveryKind, MergedWeightEqualsForwardInHalfPrecision) {
  const AdaptedLayer layer = make(true, at::kBFloat16);
  const at::Tensor x = normal({6, kIn}, 92).to(at::kBFloat16);
  EXPECT_LT(relative_error(forward(layer, x), merged_forward(layer, x)), tolerance(at::kBFloat16, 4));
}

/// Gradients against central differences of the fp32 forward pass summed in fp64. The norm is a constant for the
/// gradient, so differences are taken with the norms held.
TEST_P(EveryKind, GradientsMatchFiniteDifferences) {
  AdaptedLayer layer = make(true);
  const at::Tensor x = normal({4, kIn}, 93).set_requires_grad(true);
  const at::Tensor weights = normal({4, kOut}, 94);
  tensor::run_backward(forward(layer, x), weights);
  tensor::FlatSpace& space = layer.adapters->space();
  const Decomposition* decomposition = layer.adapters->find(0)->decomposition();
  const at::Tensor norm = decomposition == nullptr ? at::Tensor() : decomposition->norm().to(at::kDouble).clone();
  const auto loss = [&] {  // fp64, with the norms held
    const at::Tensor delta =
        layer.adapters->find(0)->change().dense_rows(at::arange(0, kOut, at::kLong)).to(at::kDouble);
    at::Tensor weight = layer.layers[0].weight.values().to(at::kDouble).add(delta);
    if (norm.defined()) {
      const at::Tensor magnitude = space.value(space.index_of("block.0.q_proj.magnitude")).to(at::kDouble);
      weight = weight.mul(magnitude.div(norm).unsqueeze(1));
    }
    at::Tensor y = at::matmul(x.detach().to(at::kDouble), weight.t());
    const at::Tensor bias = merged_bias(layer);
    y = bias.defined() ? y.add(bias) : y;
    return at::sum(y.mul(weights.to(at::kDouble))).item<double>();
  };
  const double step = 0x1p-7;
  for (const tensor::ParameterEntry& entry : space.entries()) {
    const at::Tensor values = tensor::FlatSpace::unpadded_part(space.values(), entry).view({-1});
    const at::Tensor gradient = tensor::FlatSpace::unpadded_part(layer.gradient, entry).reshape({-1});
    const double scale = gradient.abs().max().item<double>();
    ASSERT_GT(scale, 0.0) << entry.name;
    for (std::int64_t i = 0; i < values.numel(); i += 1 + values.numel() / 11) {
      float* value = values.mutable_data_ptr<float>() + i;
      const float before = *value;
      *value = before + static_cast<float>(step);
      const double above = loss();
      *value = before - static_cast<float>(step);
      const double below = loss();
      *value = before;
      // The loss is bilinear in each parameter: the difference is exact but for rounding of values to fp32.
      EXPECT_NEAR(gradient[i].item<double>(), (above - below) / (2.0 * step), 2e-4 * scale)
          << entry.name << " element " << i;
    }
  }
}

TEST_P(EveryKind, GradientOfTheInputIsThatOfTheMergedWeight) {
  const AdaptedLayer layer = make(true);
  const at::Tensor x = normal({4, kIn}, 95).set_requires_grad(true);
  const at::Tensor weights = normal({4, kOut}, 96);
  tensor::run_backward(forward(layer, x), weights);
  EXPECT_LT(relative_error(x.grad(), at::matmul(weights.to(at::kDouble), merged_weight(layer))),
            tolerance(at::kFloat, kOut));
}

TEST_P(EveryKind, TrainsWhereTheInputNeedsNoGradient) {
  const AdaptedLayer layer = make(true);
  tensor::run_backward(forward(layer, normal({4, kIn}, 97)), normal({4, kOut}, 98));
  EXPECT_GT(layer.gradient.abs().sum().item<double>(), 0.0);
}

TEST_P(EveryKind, WhatStoppedPassesTheGradientOnAndTakesNone) {
  AdaptedLayer layer = make(true);
  const at::Tensor weights = normal({4, kOut}, 98);
  const auto input_gradient = [&] {
    const at::Tensor x = normal({4, kIn}, 97).set_requires_grad(true);
    tensor::run_backward(forward(layer, x), weights);
    return x.grad();
  };
  const at::Tensor training = input_gradient();
  layer.gradient.zero_();
  AdaptedLayer stopped = adapted_layer(kind(), decompose(), true, frozen_layer(kOut, kIn, std::get<2>(GetParam())), 3,
                                       0.0, /*stop_after=*/2);
  stopped.adapters->space().set_updates_done(1);
  std::swap(layer, stopped);
  EXPECT_TRUE(at::equal(input_gradient(), training));
  EXPECT_GT(layer.gradient.abs().sum().item<double>(), 0.0);
  layer.gradient.zero_();
  layer.adapters->space().set_updates_done(2);
  EXPECT_TRUE(at::equal(input_gradient(), training));
  EXPECT_EQ(layer.gradient.abs().sum().item<double>(), 0.0);
}

TEST_P(EveryKind, PaddingNeverGetsAGradient) {
  const AdaptedLayer layer = make(true);
  tensor::run_backward(forward(layer, normal({4, kIn}, 99)), normal({4, kOut}, 100));
  at::Tensor rest = layer.gradient.clone();
  for (const tensor::ParameterEntry& entry : layer.adapters->space().entries()) {
    tensor::FlatSpace::unpadded_part(rest, entry).zero_();
  }
  EXPECT_EQ(rest.abs().sum().item<double>(), 0.0);
}

/// Two trials side by side: each has its own rows, and gets the bits of running alone.
TEST_P(EveryKind, SegmentsOfAPackAreBitwiseTheirSoloRuns) {
  AdaptedLayer first = make(true);
  AdaptedLayer second =
      adapted_layer(kind(), !decompose() && !whole(), true, frozen_layer(kOut, kIn, std::get<2>(GetParam())), 5);
  const std::int64_t rows = 32;
  const at::Tensor x = normal({2 * rows, kIn}, 101);
  const at::Tensor weights = normal({2 * rows, kOut}, 102);
  const auto solo = [&](AdaptedLayer& layer, std::int64_t at_row) {
    layer.gradient.zero_();
    const at::Tensor y = forward(layer, x.narrow(0, at_row, rows).contiguous());
    tensor::run_backward(y, weights.narrow(0, at_row, rows).contiguous());
    return std::pair{y.detach(), layer.gradient.clone()};
  };
  const auto [first_y, first_gradient] = solo(first, 0);
  const auto [second_y, second_gradient] = solo(second, rows);
  first.gradient.zero_();
  second.gradient.zero_();
  const Pack pack{{{0, 1, first.adapters.get()}, {1, 1, second.adapters.get()}}};
  const at::Tensor y = adapted_linear(x, first.layers[0], pack);
  tensor::run_backward(y, weights);
  EXPECT_TRUE(at::equal(y.detach(), at::cat({first_y, second_y}, 0)));
  EXPECT_TRUE(at::equal(first.gradient, first_gradient));
  EXPECT_TRUE(at::equal(second.gradient, second_gradient));
}

INSTANTIATE_TEST_SUITE_P(Registry, EveryKind,
                         ::testing::Combine(::testing::ValuesIn(adapter_kinds().names()), ::testing::Bool(),
                                            ::testing::Bool()),
                         [](const auto& row) {
                           return std::get<0>(row.param) + (std::get<1>(row.param) ? "_decomposed" : "_plain") +
                                  (std::get<2>(row.param) ? "_bias" : "");
                         });

}  // namespace
}  // namespace dormer::adapter
