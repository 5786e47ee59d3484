#include <algorithm>
#include <cmath>
#include <ostream>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/sum.h>
#include <gtest/gtest.h>

#include "adapted_layer.hpp"
#include "adapter/adapter.hpp"
#include "adapter/layer_operation.hpp"
#include "dormer/adapter/kinds.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "layer_cases.hpp"

namespace dormer::adapter {
namespace {

using test::AdaptedLayer;
using test::layer_case;
using test::layer_case_input;
using test::normal;
using test::relative_error;
using test::spread;
using test::spread_norms;
using test::tolerance;

/// One row of the suite: a kind with one of its options, on one layer, plain or decomposed.
struct Row {
  std::string kind;
  std::string option;  ///< a key of the configuration that is switched on, a start, or empty
  std::string layer;
  std::string axis;  ///< "plain", "output" or "input"
  bool bias = false;
};

std::ostream& operator<<(std::ostream& out, const Row& row) {
  return out << row.kind << '_' << (row.option.empty() ? "" : row.option + "_") << row.layer << '_' << row.axis
             << (row.bias ? "_bias" : "");
}

bool serves(const AdapterKind& kind, const std::string& layer) {
  return std::ranges::find(kind.forms, test::layer_case_site(layer).form) != kind.forms.end();
}

bool follows(const AdapterKind& kind, std::string_view option) {
  return std::ranges::find(kind.options, option) != kind.options.end();
}

bool is_start(const std::string& option) {
  const std::vector<std::string> starts = start_names();
  return std::ranges::find(starts, option) != starts.end();
}

/// A new kind inherits every promise below, on every layer that it serves, on both axes.
std::vector<Row> all_rows() {
  std::vector<Row> rows;
  const Registry<AdapterKind> kinds = adapter_kinds();
  for (const auto& [name, kind] : kinds.entries()) {
    std::vector<std::string> options{""};
    for (const char* option : {"tucker", "decompose_both", "full_matrix"}) {
      if (follows(kind, option)) {
        options.emplace_back(option);
      }
    }
    if (follows(kind, "start")) {
      const std::vector<std::string> starts = start_names();
      options.insert(options.end(), starts.begin() + 1, starts.end());
    }
    for (const std::string& option : options) {
      for (const std::string& layer : test::kLayerCases) {
        const Site site = test::layer_case_site(layer);
        if (!serves(kind, layer) || (option == "tucker" && site.taps() == 1) ||
            (is_start(option) && site.form != LayerForm::kLinear)) {
          continue;
        }
        for (const char* axis : {"plain", "output", "input"}) {
          const bool decomposed = std::string(axis) != "plain";
          if (decomposed && (kind.whole || (site.form == LayerForm::kEmbedding && std::string(axis) == "input"))) {
            continue;
          }
          rows.push_back({std::string(name), option, layer, axis, false});
          if (layer == "linear" || layer == "convolution2d") {
            rows.push_back({std::string(name), option, layer, axis, true});
          }
        }
      }
    }
  }
  return rows;
}

class EveryKind : public ::testing::TestWithParam<Row> {
 protected:
  EveryKind() : site_(test::layer_case_site(GetParam().layer)) {}
  [[nodiscard]] bool decomposed() const { return GetParam().axis != "plain"; }
  [[nodiscard]] bool by_input() const { return GetParam().axis == "input"; }
  [[nodiscard]] bool embedding() const { return site_.form == LayerForm::kEmbedding; }
  [[nodiscard]] AdapterConfig config(std::int64_t rank = 3) const {
    const Row& row = GetParam();
    AdapterConfig config;
    config.kind = row.kind;
    config.rank = adapter_kinds().get("kind", row.kind).any_rank ? std::min<std::int64_t>(rank, 2) : rank;
    config.alpha.text = "2*rank";
    config.targets = {"q_proj"};
    config.tucker = row.option == "tucker";
    config.decompose_both = row.option == "decompose_both";
    config.full_matrix = row.option == "full_matrix";
    config.start = is_start(row.option) ? row.option : "kaiming";
    if (decomposed()) {
      config.decompose.emplace(DecomposeConfig{row.axis});
    }
    return config;
  }
  [[nodiscard]] AdaptedLayer make(bool moved, at::ScalarType dtype = at::kFloat, std::int64_t rank = 3) const {
    return test::adapted_layer(config(rank), moved, layer_case(GetParam().layer, GetParam().bias, dtype));
  }
  [[nodiscard]] at::Tensor input(std::int64_t samples, std::uint64_t seed, at::ScalarType dtype = at::kFloat) const {
    return layer_case_input(site_, samples, seed, dtype);
  }
  Site site_;
};

at::Tensor forward(const AdaptedLayer& layer, const at::Tensor& x) {
  return apply_layer(x, layer.layers[0], Pack::solo(layer.adapters.get(), 1));
}

/// W + Δ as a matrix [out, columns] in fp64.
at::Tensor sum_matrix(const AdaptedLayer& layer) {
  const Site& site = layer.layers[0].site;
  return matrix_rows(site, layer.layers[0].weight.values(), 0, site.out)
      .to(at::kDouble)
      .add(layer.adapters->find(0)->change().dense_rows(0, site.out));
}

/// The effective weight in fp64, from the definition: m (W + Δ) / |W + Δ|.
at::Tensor merged_weight(const AdaptedLayer& layer) {
  const Decomposition* decomposition = layer.adapters->find(0)->decomposition();
  const at::Tensor sum = sum_matrix(layer);
  if (decomposition == nullptr) {
    return sum;
  }
  const Site& site = layer.layers[0].site;
  const at::Tensor magnitude = spread(site, decomposition->axis(), decomposition->magnitude().to(at::kDouble));
  return sum.mul(magnitude).div(spread_norms(site, decomposition->axis(), sum));
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
  return test::reference_layer(layer.layers[0].site, x, merged_weight(layer), merged_bias(layer));
}

TEST_P(EveryKind, IsTheBaseAtTheStart) {
  const AdaptedLayer layer = make(false);
  const at::Tensor x = input(6, 91);
  const at::Tensor base = apply_layer(x, layer.layers[0], Pack::solo(nullptr, 1));
  if (decomposed()) {
    EXPECT_LT(relative_error(forward(layer, x), base), tolerance(at::kFloat, 2));
  } else {
    EXPECT_TRUE(at::equal(forward(layer, x), base));
  }
}

TEST_P(EveryKind, MergedWeightEqualsForward) {
  const AdaptedLayer layer = make(true);
  const at::Tensor x = input(6, 92);
  EXPECT_LT(relative_error(forward(layer, x), merged_forward(layer, x)), tolerance(at::kFloat, site_.columns()));
}

TEST_P(EveryKind, MergedWeightEqualsForwardInHalfPrecision) {
  const AdaptedLayer layer = make(true, at::kBFloat16);
  const at::Tensor x = input(6, 92, at::kBFloat16);
  EXPECT_LT(relative_error(forward(layer, x), merged_forward(layer, x)), tolerance(at::kBFloat16, 4));
}

TEST_P(EveryKind, NormsAreThoseOfTheDenseSum) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const AdaptedLayer layer = make(true, dtype);
    const Decomposition* decomposition = layer.adapters->find(0)->decomposition();
    if (decomposition == nullptr) {
      continue;
    }
    const Axis axis = decomposition->axis();
    const at::Tensor expected = spread_norms(site_, axis, sum_matrix(layer));
    const at::Tensor off = spread(site_, axis, decomposition->norm().to(at::kDouble)).sub(expected).abs();
    at::Tensor allowed = expected.mul(4.0 * 0x1p-23 * std::sqrt(static_cast<double>(site_.columns())));
    const bool low_rank = GetParam().kind == "lora" || GetParam().kind == "locon";
    if (dtype == at::kBFloat16 && low_rank) {  // docs/adr/0032: each of a product's two is off by up to 2^-9
      const at::Tensor change = layer.adapters->find(0)->change().dense_rows(0, site_.out);
      allowed.add_(spread_norms(site_, axis, change.to(at::kDouble)), 0x1p-8);
    }
    EXPECT_TRUE(off.le(allowed).all().item<bool>()) << off.div(allowed).max();
  }
}

TEST_P(EveryKind, CachedNormsAreTheFreshOnesBitForBitAndFollowEveryWrite) {
  AdaptedLayer layer = make(true);
  const Decomposition* decomposition = layer.adapters->find(0)->decomposition();
  if (decomposition == nullptr) {
    return;
  }
  tensor::FlatSpace& space = layer.adapters->space();
  const at::Tensor cached = decomposition->norm().clone();
  space.mark_written();
  layer.adapters->refresh();
  EXPECT_TRUE(at::equal(decomposition->norm(), cached));
  space.values().mul_(1.5);
  space.mark_written();
  layer.adapters->refresh();
  EXPECT_FALSE(at::equal(decomposition->norm(), cached));
}

/// As a checkpoint is loaded: into an adapter that began elsewhere, and whose cached values are of that start.
TEST_P(EveryKind, StoredParametersMakeTheSameLayerBitForBit) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const AdaptedLayer saved = make(true, dtype);
    const AdaptedLayer loaded = make(false, dtype);
    const at::Tensor x = input(6, 96, dtype);
    const at::Tensor expected = forward(saved, x);
    EXPECT_FALSE(at::equal(forward(loaded, x), expected));
    tensor::FlatSpace& space = loaded.adapters->space();
    space.values().copy_(saved.adapters->space().values());
    space.mark_written();
    loaded.adapters->refresh();
    EXPECT_TRUE(at::equal(forward(loaded, x), expected));
    EXPECT_TRUE(at::equal(merged_weight(loaded), merged_weight(saved)));
    EXPECT_TRUE(at::equal(forward(saved, x), expected)) << "reading the merged weight changed something";
  }
}

/// Gradients against central differences in fp64, the norm held: it is a constant for the gradient.
TEST_P(EveryKind, GradientsMatchFiniteDifferences) {
  AdaptedLayer layer = make(true);
  const at::Tensor x = input(4, 93);
  const at::Tensor weights = normal(forward(layer, x).sizes(), 94);
  layer.gradient.zero_();
  tensor::run_backward(forward(layer, x), weights);
  tensor::FlatSpace& space = layer.adapters->space();
  const Decomposition* decomposition = layer.adapters->find(0)->decomposition();
  const at::Tensor norm = decomposition == nullptr ? at::Tensor() : decomposition->norm().to(at::kDouble).clone();
  const auto loss = [&] {  // fp64, with the norms held
    const_cast<Adapter*>(layer.adapters->find(0))->change().refresh();
    at::Tensor weight = sum_matrix(layer);
    if (norm.defined()) {
      const Axis axis = decomposition->axis();
      weight = weight.mul(spread(site_, axis, decomposition->magnitude().to(at::kDouble).div(norm)));
    }
    const at::Tensor y = test::reference_layer(site_, x.detach(), weight, merged_bias(layer));
    return at::sum(y.mul(weights.to(at::kDouble))).item<double>();
  };
  const double step = 0x1p-7;
  for (const tensor::ParameterEntry& entry : space.entries()) {
    const at::Tensor values = tensor::FlatSpace::unpadded_part(space.values(), entry).view({-1});
    const at::Tensor gradient = tensor::FlatSpace::unpadded_part(layer.gradient, entry).reshape({-1});
    const double scale = gradient.abs().max().item<double>();
    ASSERT_GT(scale, 0.0) << entry.name;
    for (std::int64_t i = 0; i < values.numel(); i += 1 + values.numel() / 3) {
      float* value = values.mutable_data_ptr<float>() + i;
      const float before = *value;
      *value = before + static_cast<float>(step);
      const double above = loss();
      *value = before - static_cast<float>(step);
      const double below = loss();
      *value = before;
      // The loss is linear in each parameter: the difference is exact but for rounding of values and of Δ to fp32.
      EXPECT_NEAR(gradient[i].item<double>(), (above - below) / (2.0 * step), 3e-4 * scale)
          << entry.name << " element " << i;
    }
  }
}

TEST_P(EveryKind, GradientOfTheInputIsThatOfTheMergedWeight) {
  if (embedding()) {
    return;  // its input is token ids
  }
  const AdaptedLayer layer = make(true);
  const at::Tensor x = input(4, 95).set_requires_grad(true);
  const at::Tensor y = forward(layer, x);
  const at::Tensor weights = normal(y.sizes(), 96);
  tensor::run_backward(y, weights);
  const at::Tensor wide = x.detach().to(at::kDouble).set_requires_grad(true);
  merged_forward(layer, wide).backward(weights.to(at::kDouble));
  EXPECT_LT(relative_error(x.grad(), wide.grad()), tolerance(at::kFloat, site_.out * site_.taps()));
}

TEST_P(EveryKind, TrainsWhereTheInputNeedsNoGradient) {
  const AdaptedLayer layer = make(true);
  const at::Tensor y = forward(layer, input(4, 97));
  const at::Tensor weights = normal(y.sizes(), 98);
  tensor::run_backward(y, weights);
  const at::Tensor alone = layer.gradient.clone();
  EXPECT_GT(alone.abs().sum().item<double>(), 0.0);
  if (!embedding()) {
    layer.gradient.zero_();
    tensor::run_backward(forward(layer, input(4, 97).set_requires_grad(true)), weights);
    EXPECT_TRUE(at::equal(layer.gradient, alone));
  }
}

TEST_P(EveryKind, WhatStoppedPassesTheGradientOnAndTakesNone) {
  const auto input_gradient_of = [&](const AdaptedLayer& layer) {
    const at::Tensor x = embedding() ? input(4, 97) : input(4, 97).set_requires_grad(true);
    const at::Tensor y = forward(layer, x);
    tensor::run_backward(y, normal(y.sizes(), 98));
    return embedding() ? at::Tensor() : x.grad();
  };
  const AdaptedLayer training = make(true);
  const at::Tensor expected = input_gradient_of(training);
  AdapterConfig stopping = config();
  stopping.overrides.push_back({.match = "q_proj", .stop_after = 2});
  AdaptedLayer layer = test::adapted_layer(stopping, true, layer_case(GetParam().layer, GetParam().bias));
  for (const std::int64_t updates : {1, 2}) {
    layer.gradient.zero_();
    layer.adapters->space().set_updates_done(updates);
    const at::Tensor gradient = input_gradient_of(layer);
    EXPECT_TRUE(!gradient.defined() || at::equal(gradient, expected));
    EXPECT_EQ(layer.gradient.abs().sum().item<double>() > 0.0, updates < 2);
  }
}

TEST_P(EveryKind, PaddingNeverGetsAGradient) {
  const AdaptedLayer layer = make(true);
  const at::Tensor y = forward(layer, input(4, 99));
  tensor::run_backward(y, normal(y.sizes(), 100));
  at::Tensor rest = layer.gradient.clone();
  for (const tensor::ParameterEntry& entry : layer.adapters->space().entries()) {
    tensor::FlatSpace::unpadded_part(rest, entry).zero_();
  }
  EXPECT_EQ(rest.abs().sum().item<double>(), 0.0);
}

/// The rows of a gradient of Δ reach the parameters as the backward pass of the layer says.
TEST_P(EveryKind, AGradientOfTheChangeReachesTheParameters) {
  if (embedding() || decomposed()) {
    return;  // the change alone is looked at, and an embedding has no dense gradient
  }
  const AdaptedLayer layer = make(true);
  const at::Tensor x = input(4, 105);
  const at::Tensor y = forward(layer, x);
  const at::Tensor weights = normal(y.sizes(), 106);
  tensor::run_backward(y, weights);
  at::Tensor expected = layer.gradient.clone();
  const tensor::FlatSpace& space = layer.adapters->space();
  if (space.contains("block.0.q_proj.bias")) {
    tensor::FlatSpace::part(expected, space.entries()[space.index_of("block.0.q_proj.bias")]).zero_();
  }
  layer.gradient.zero_();
  const at::Tensor dense = weight_gradient(site_, weights, x).reshape({site_.out, site_.columns()});
  for (std::int64_t first = 0; first < site_.out; first += 5) {  // blocks that end anywhere
    const std::int64_t count = std::min<std::int64_t>(5, site_.out - first);
    layer.adapters->find(0)->change().add_weight_gradient(first, dense.narrow(0, first, count));
  }
  // A parameter's gradient is a sum over at most all outputs and all columns of the other factors.
  EXPECT_LT(relative_error(layer.gradient, expected), tolerance(at::kFloat, y.numel() * site_.columns()));
}

/// Two trials side by side: each has its own rows, and gets the bits of running alone.
TEST_P(EveryKind, SegmentsOfAPackAreBitwiseTheirSoloRuns) {
  const std::int64_t rows = site_.form == LayerForm::kConvolution ? 2 : 32;
  AdaptedLayer first = make(true);
  AdaptedLayer second = make(true, at::kFloat, 5);
  const at::Tensor x = input(2 * rows, 101);
  const at::Tensor weights = normal(forward(first, x).sizes(), 102);
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
  const at::Tensor y = apply_layer(x, first.layers[0], pack);
  tensor::run_backward(y, weights);
  EXPECT_TRUE(at::equal(y.detach(), at::cat({first_y, second_y}, 0)));
  EXPECT_TRUE(at::equal(first.gradient, first_gradient));
  EXPECT_TRUE(at::equal(second.gradient, second_gradient));
}

INSTANTIATE_TEST_SUITE_P(Registry, EveryKind, ::testing::ValuesIn(all_rows()), ::testing::PrintToStringParamName());

}  // namespace
}  // namespace dormer::adapter
