#include <string>
#include <tuple>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/sum.h>
#include <gtest/gtest.h>

#include "adapted_layer.hpp"
#include "adapter/adapter.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/dropout.hpp"

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
constexpr std::int64_t kSamples = 2;
constexpr std::int64_t kRows = 6;  // three of each sample
constexpr double kRate = 0.4;

AdapterConfig config_of(const std::string& axis, bool whole) {
  AdapterConfig config;
  config.rank = 3;
  config.alpha.text = "2*rank";
  config.targets = {"q_proj"};
  config.dropout = kRate;
  if (axis != "plain") {
    config.decompose.emplace(DecomposeConfig{.axis = axis});
  }
  if (whole) {
    config.dropout_placement = "whole";
  }
  return config;
}

/// Plain and decomposed, with bias and without, the adapter's input alone or that of the whole layer.
class InputDropoutTest : public ::testing::TestWithParam<std::tuple<std::string, bool, bool>> {
 protected:
  InputDropoutTest()
      : layer_(adapted_layer(config_of(std::get<0>(GetParam()), whole()), true,
                             frozen_layer(kOut, kIn, std::get<1>(GetParam())))) {
    pack_ = Pack::solo(layer_.adapters.get(), kSamples);
    pack_.segments.front().dropout_keys = dropout_keys(RandomKey{9}, 4, 10, kSamples);
    std::vector<RandomKey> keys;
    for (const RandomKey key : pack_.segments.front().dropout_keys) {
      keys.push_back(key.child("block.0.q_proj"));
    }
    mask_ = tensor::dropped_out(at::ones({kRows, kIn}), keys, kRate).to(at::kDouble);
  }

  [[nodiscard]] static bool whole() { return std::get<2>(GetParam()); }
  [[nodiscard]] at::Tensor forward(const at::Tensor& x) const { return apply_layer(x, layer_.layers[0], pack_); }

  /// In fp64, the norms as the adapter holds them. PEFT's sum is x Wᵀ + (f - 1) x~ Wᵀ + f x~ Δᵀ + b; the whole layer
  /// takes x~ in the place of x.
  [[nodiscard]] at::Tensor definition(const at::Tensor& x) const {
    const Adapter& adapter = *layer_.adapters->find(0);
    const at::Tensor weight = layer_.layers[0].weight.values().to(at::kDouble);
    const at::Tensor delta = adapter.change().dense_rows(0, kOut).to(at::kDouble);
    const at::Tensor whole = x.detach().to(at::kDouble);
    const at::Tensor dropped = whole.mul(mask_);
    at::Tensor y = at::matmul(InputDropoutTest::whole() ? dropped : whole, weight.t());
    if (adapter.decomposition() == nullptr) {
      y = y.add(at::matmul(dropped, delta.t()));
    } else {
      const tensor::FlatSpace& space = layer_.adapters->space();
      const at::Tensor factor = space.value(space.index_of("block.0.q_proj.magnitude"))
                                    .to(at::kDouble)
                                    .div(adapter.decomposition()->norm().to(at::kDouble));
      if (adapter.decomposition()->axis() == Axis::kInput) {
        const at::Tensor scaled = dropped.mul(factor);
        y = y.add(at::matmul(scaled.sub(dropped), weight.t())).add(at::matmul(scaled, delta.t()));
        return layer_.layers[0].bias.defined() ? y.add(layer_.layers[0].bias.values().to(at::kDouble)) : y;
      }
      y = y.add(at::matmul(dropped, weight.t()).mul(factor.sub(1.0))).add(at::matmul(dropped, delta.t()).mul(factor));
    }
    return layer_.layers[0].bias.defined() ? y.add(layer_.layers[0].bias.values().to(at::kDouble)) : y;
  }

  AdaptedLayer layer_;
  Pack pack_;
  at::Tensor mask_;
};

TEST_P(InputDropoutTest, IsThatOfTheDefinition) {
  const at::Tensor x = normal({kRows, kIn}, 92);
  EXPECT_LT(relative_error(forward(x), definition(x)), tolerance(at::kFloat, 2 * kIn));
}

TEST_P(InputDropoutTest, EvaluationDropsNothing) {
  const at::Tensor x = normal({kRows, kIn}, 92);
  AdapterConfig config = config_of(std::get<0>(GetParam()), false);
  config.dropout = 0.0;
  const AdaptedLayer plain = adapted_layer(config, true, frozen_layer(kOut, kIn, std::get<1>(GetParam())));
  const at::Tensor y = apply_layer(x, layer_.layers[0], Pack::solo(layer_.adapters.get(), kSamples));
  EXPECT_TRUE(at::equal(y, apply_layer(x, plain.layers[0], Pack::solo(plain.adapters.get(), kSamples))));
  EXPECT_FALSE(at::equal(y, forward(x)));
}

/// Central differences of the fp64 definition with the mask and the norms held, for parameters and input.
TEST_P(InputDropoutTest, GradientsMatchFiniteDifferences) {
  at::Tensor x = normal({kRows, kIn}, 93).set_requires_grad(true);
  const at::Tensor weights = normal({kRows, kOut}, 94);
  tensor::run_backward(forward(x), weights);
  const auto loss = [&] { return at::sum(definition(x).mul(weights.to(at::kDouble))).item<double>(); };
  const auto expect_differences = [&](const std::string& name, float* values, const at::Tensor& gradient) {
    const double step = 0x1p-7;
    const double scale = gradient.abs().max().item<double>();
    ASSERT_GT(scale, 0.0) << name;
    for (std::int64_t i = 0; i < gradient.numel(); i += 1 + gradient.numel() / 23) {
      const float before = values[i];
      values[i] = before + static_cast<float>(step);
      const double above = loss();
      values[i] = before - static_cast<float>(step);
      const double below = loss();
      values[i] = before;
      // The loss is bilinear in each value: the difference is exact but for rounding of values to fp32.
      EXPECT_NEAR(gradient[i].item<double>(), (above - below) / (2.0 * step), 2e-4 * scale) << name << " " << i;
    }
  };
  tensor::FlatSpace& space = layer_.adapters->space();
  for (const tensor::ParameterEntry& entry : space.entries()) {
    expect_differences(entry.name, tensor::FlatSpace::unpadded_part(space.values(), entry).mutable_data_ptr<float>(),
                       tensor::FlatSpace::unpadded_part(layer_.gradient, entry).reshape({-1}));
  }
  const tensor::NoRecording guard;
  expect_differences("x", x.mutable_data_ptr<float>(), x.grad().reshape({-1}));
}

/// A sample's rows are those of being alone: the mask knows the sample, not its place in the micro-batch.
TEST_P(InputDropoutTest, DependsOnTheSampleNotOnItsBatch) {
  const at::Tensor x = normal({kRows, kIn}, 95);
  Pack alone = Pack::solo(layer_.adapters.get(), 1);
  alone.segments.front().dropout_keys = dropout_keys(RandomKey{9}, 4, 11, 1);
  const at::Tensor second = x.narrow(0, kRows / 2, kRows / 2);
  EXPECT_LT(relative_error(apply_layer(second.contiguous(), layer_.layers[0], alone),
                           forward(x).narrow(0, kRows / 2, kRows / 2).to(at::kDouble)),
            tolerance(at::kFloat, kIn));  // products of fewer rows may sum in another order
}

INSTANTIATE_TEST_SUITE_P(Kinds, InputDropoutTest,
                         ::testing::Combine(::testing::Values("plain", "output", "input"), ::testing::Bool(),
                                            ::testing::Bool()),
                         [](const auto& row) {
                           return std::get<0>(row.param) + (std::get<1>(row.param) ? "_bias" : "") +
                                  (std::get<2>(row.param) ? "_whole" : "");
                         });

TEST(DropoutKeys, DifferBySeedStepAndSample) {
  const RandomKey key = dropout_keys(RandomKey{1}, 2, 3, 1).front();
  EXPECT_NE(key.value, dropout_keys(RandomKey{2}, 2, 3, 1).front().value);
  EXPECT_NE(key.value, dropout_keys(RandomKey{1}, 3, 3, 1).front().value);
  EXPECT_NE(key.value, dropout_keys(RandomKey{1}, 2, 4, 1).front().value);
  EXPECT_EQ(key.value, dropout_keys(RandomKey{1}, 2, 0, 8)[3].value);
}

}  // namespace
}  // namespace dormer::adapter
