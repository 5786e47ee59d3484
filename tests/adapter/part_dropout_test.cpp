#include "adapter/part_dropout.hpp"

#include <ostream>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/sum.h>
#include <gtest/gtest.h>

#include "adapted_layer.hpp"
#include "adapter/adapter.hpp"
#include "adapter/layer_operation.hpp"
#include "dormer/core/error.hpp"
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

constexpr const char* kName = "block.0.q_proj";
constexpr RandomKey kSeed{9};
constexpr std::int64_t kStep = 4;
constexpr double kRate = 0.4;

/// A kind on a layer, plain or decomposed; with `norm_gradient` as LyCORIS.
struct Row {
  std::string kind;
  std::string layer;
  std::string axis;
  bool norm_gradient = false;
  bool scaled = false;
  std::string start = "kaiming";
};

std::ostream& operator<<(std::ostream& out, const Row& row) {
  return out << row.kind << '_' << row.start << '_' << row.layer << '_' << row.axis
             << (row.norm_gradient ? "_norm" : "") << (row.scaled ? "_scaled" : "");
}

std::vector<Row> all_rows() {
  std::vector<Row> rows;
  for (const auto& [kind, layer] : std::vector<std::pair<std::string, std::string>>{{"lora", "linear"},
                                                                                    {"lora", "embedding"},
                                                                                    {"locon", "convolution2d"},
                                                                                    {"locon", "grouped2d"},
                                                                                    {"loha", "linear"},
                                                                                    {"loha", "convolution2d"},
                                                                                    {"lokr", "linear"},
                                                                                    {"lokr", "grouped2d"}}) {
    for (const bool scaled : {false, true}) {
      rows.push_back({kind, layer, "plain", false, scaled});
      for (const bool norm_gradient : {false, true}) {
        rows.push_back({kind, layer, "output", norm_gradient, scaled});
        if (layer != "embedding") {
          rows.push_back({kind, layer, "input", norm_gradient, scaled});
        }
      }
    }
  }
  rows.push_back({"lora", "linear", "output", false, false, "pissa"});
  return rows;
}

AdapterConfig config_of(const Row& row) {
  AdapterConfig config;
  config.kind = row.kind;
  config.rank = row.kind == "lokr" ? 2 : 3;
  config.alpha.text = "2*rank";
  config.targets = {"q_proj"};
  config.start = row.start;
  config.rank_dropout = kRate;
  config.rank_dropout_scale = row.scaled;
  if (row.axis != "plain") {
    config.decompose.emplace(DecomposeConfig{
        .axis = row.axis, .epsilon = row.norm_gradient ? 1e-3 : 0.0, .norm_gradient = row.norm_gradient});
  }
  return config;
}

/// A pass that trains.
Pack training(const AdaptedLayer& layer, std::int64_t samples = 1) {
  Pack pack = Pack::solo(layer.adapters.get(), samples);
  pack.segments.front().dropout_keys = dropout_keys(kSeed, kStep, 0, samples);
  return pack;
}

class RankDropoutTest : public ::testing::TestWithParam<Row> {
 protected:
  RankDropoutTest()
      : layer_(test::adapted_layer(config_of(GetParam()), true, layer_case(GetParam().layer, true))),
        site_(layer_.layers[0].site),
        factors_(
            row_factors(part_dropout_key(kSeed, kStep, kName), site_.out, kRate, GetParam().scaled).to(at::kDouble)) {
    layer_.adapters->draw_dropout(kSeed, kStep);
    const auto kept = factors_.gt(0.0).sum().item<std::int64_t>();
    EXPECT_TRUE(kept > 0 && kept < site_.out) << "the draw drops nothing or all";
  }

  /// The effective weight in fp64: m V / |V| with V = W + diag(factors) Δ; the norms held at `norm` where it is
  /// defined.
  [[nodiscard]] at::Tensor weight(const at::Tensor& norm = {}) const {
    const Adapter& adapter = *layer_.adapters->find(0);
    const at::Tensor sum = matrix_rows(site_, layer_.layers[0].weight.values(), 0, site_.out)
                               .to(at::kDouble)
                               .add(adapter.change().dense_rows(0, site_.out).mul(factors_.unsqueeze(1)));
    const Decomposition* decomposition = adapter.decomposition();
    if (decomposition == nullptr) {
      return sum;
    }
    const Axis axis = decomposition->axis();
    const at::Tensor norms =
        norm.defined() ? norm : spread_norms(site_, axis, sum).add(layer_.adapters->config().epsilon());
    return sum.mul(spread(site_, axis, decomposition->magnitude().to(at::kDouble))).div(norms);
  }
  [[nodiscard]] at::Tensor definition(const at::Tensor& x, const at::Tensor& norm = {}) const {
    const tensor::BaseWeight& bias = layer_.layers[0].bias;
    return test::reference_layer(site_, x.detach(), weight(norm),
                                 bias.defined() ? bias.values().to(at::kDouble) : at::Tensor());
  }
  [[nodiscard]] at::Tensor forward(const at::Tensor& x) const {
    return apply_layer(x, layer_.layers[0], training(layer_));
  }
  [[nodiscard]] bool embedding() const { return site_.form == LayerForm::kEmbedding; }

  AdaptedLayer layer_;
  Site site_;
  at::Tensor factors_;
};

TEST_P(RankDropoutTest, IsThatOfTheDefinition) {
  const at::Tensor x = layer_case_input(site_, 4, 92);
  // The norms are rounded to fp32, too, and Δ is a product of up to three factors.
  EXPECT_LT(relative_error(forward(x), definition(x)), tolerance(at::kFloat, 8 * site_.columns()));
}

TEST_P(RankDropoutTest, EvaluationDropsNothing) {
  const at::Tensor x = layer_case_input(site_, 4, 92);
  AdapterConfig config = config_of(GetParam());
  config.rank_dropout = 0.0;
  config.rank_dropout_scale = false;
  const AdaptedLayer plain = test::adapted_layer(config, true, layer_case(GetParam().layer, true));
  const at::Tensor y = apply_layer(x, layer_.layers[0], Pack::solo(layer_.adapters.get(), 1));
  EXPECT_TRUE(at::equal(y, apply_layer(x, plain.layers[0], Pack::solo(plain.adapters.get(), 1))));
  EXPECT_FALSE(at::equal(y, forward(x)));
}

/// Central differences of the fp64 definition, norms held where they count as constants.
TEST_P(RankDropoutTest, GradientsMatchFiniteDifferences) {
  at::Tensor x = layer_case_input(site_, 4, 93);
  if (!embedding()) {
    x.set_requires_grad(true);
  }
  const at::Tensor y = forward(x);
  const at::Tensor weights = normal(y.sizes(), 94);
  tensor::run_backward(y, weights);
  const Decomposition* drawn = layer_.adapters->find_drawn(0)->decomposition();
  const at::Tensor norm = drawn == nullptr || GetParam().norm_gradient
                              ? at::Tensor()
                              : spread(site_, drawn->axis(), drawn->norm().to(at::kDouble)).clone();
  const auto loss = [&] {
    layer_.adapters->space().mark_written();
    layer_.adapters->refresh();
    return at::sum(definition(x, norm).mul(weights.to(at::kDouble))).item<double>();
  };
  const double step = 0x1p-7;
  const tensor::NoRecording guard;
  const auto expect_differences = [&](const std::string& name, const at::Tensor& values, const at::Tensor& gradient) {
    const double scale = gradient.abs().max().item<double>();
    ASSERT_GT(scale, 0.0) << name;
    for (std::int64_t i = 0; i < values.numel(); i += 1 + values.numel() / 5) {
      float* value = values.mutable_data_ptr<float>() + i;
      const float before = *value;
      *value = before + static_cast<float>(step);
      const double above = loss();
      *value = before - static_cast<float>(step);
      const double below = loss();
      *value = before;
      // With the norms held the loss is linear in each value, and only values and Δ are rounded; norms bend it by
      // step² of a length near 1.
      EXPECT_NEAR(gradient[i].item<double>(), (above - below) / (2.0 * step),
                  (GetParam().norm_gradient ? 2e-3 : 3e-4) * scale)
          << name << " element " << i;
    }
  };
  const tensor::FlatSpace& space = layer_.adapters->space();
  for (const tensor::ParameterEntry& entry : space.entries()) {
    expect_differences(entry.name, tensor::FlatSpace::unpadded_part(space.values(), entry).view({-1}),
                       tensor::FlatSpace::unpadded_part(layer_.gradient, entry).reshape({-1}));
  }
  if (!embedding()) {
    expect_differences("x", x.detach().view({-1}), x.grad().reshape({-1}));
  }
}

/// All samples of an update have one mask, so that no split into micro-batches can change it.
TEST_P(RankDropoutTest, IsOneMaskForAllSamplesOfAnUpdate) {
  const at::Tensor x = layer_case_input(site_, 4, 95);
  const at::Tensor whole = apply_layer(x, layer_.layers[0], training(layer_, 4));
  for (std::int64_t sample = 0; sample < 4; ++sample) {
    Pack alone = Pack::solo(layer_.adapters.get(), 1);
    alone.segments.front().dropout_keys = dropout_keys(kSeed, kStep, sample, 1);
    EXPECT_LT(relative_error(apply_layer(x.narrow(0, sample, 1).contiguous(), layer_.layers[0], alone),
                             whole.narrow(0, sample, 1).to(at::kDouble)),
              tolerance(at::kFloat, site_.columns()));
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, RankDropoutTest, ::testing::ValuesIn(all_rows()), ::testing::PrintToStringParamName());

Row row_of(const std::string& axis) {
  return {"lora", "linear", axis};
}

/// With any kind of norm the layer is its base bit for bit, and nothing trains.
TEST(ModuleDropout, LeavesTheBase) {
  for (const char* axis : {"plain", "output", "input"}) {
    AdapterConfig config = config_of(row_of(axis));
    config.module_dropout = AdapterConfig::kMaximumDropout;
    config.dropout = 0.5;
    config.dropout_placement = "whole";
    const AdaptedLayer layer = test::adapted_layer(config, true, layer_case("linear", true));
    layer.adapters->draw_dropout(kSeed, kStep);
    at::Tensor x = layer_case_input(layer.layers[0].site, 4, 92).set_requires_grad(true);
    const at::Tensor y = apply_layer(x, layer.layers[0], training(layer));
    const at::Tensor base = apply_layer(x.detach(), layer.layers[0], Pack::solo(nullptr, 1));
    EXPECT_TRUE(at::equal(y.detach(), base)) << axis;
    tensor::run_backward(y, normal(y.sizes(), 93));
    EXPECT_EQ(layer.gradient.abs().sum().item<double>(), 0.0) << axis;
    const at::Tensor expected =
        normal(y.sizes(), 93).to(at::kDouble).matmul(layer.layers[0].weight.values().to(at::kDouble));
    EXPECT_LT(relative_error(x.grad(), expected), tolerance(at::kFloat, layer.layers[0].site.out)) << axis;
    EXPECT_FALSE(at::equal(apply_layer(x.detach(), layer.layers[0], Pack::solo(layer.adapters.get(), 1)), base));
  }
}

/// A bias is no part of the change: the layer is its base with the bias that trains, which gets its gradient.
TEST(PartDropout, LeavesTheTrainedBias) {
  for (const bool left_out : {false, true}) {
    AdapterConfig config = config_of(row_of("output"));
    config.bias = "adapter_only";
    config.module_dropout = left_out ? AdapterConfig::kMaximumDropout : 0.0;
    const AdaptedLayer layer = test::adapted_layer(config, true, layer_case("linear", true));
    layer.adapters->draw_dropout(kSeed, kStep);
    const tensor::FlatSpace& space = layer.adapters->space();
    const std::size_t bias = space.index_of(std::string(kName) + ".bias");
    const at::Tensor x = layer_case_input(layer.layers[0].site, 4, 92);
    const at::Tensor y = apply_layer(x, layer.layers[0], training(layer));
    const at::Tensor moved = space.value(bias).sub(layer.layers[0].bias.values());
    ASSERT_GT(moved.abs().max().item<double>(), 0.01);
    if (left_out) {
      const at::Tensor base = apply_layer(x, layer.layers[0], Pack::solo(nullptr, 1));
      EXPECT_LT(relative_error(y, base.add(moved).to(at::kDouble)), tolerance(at::kFloat, 2));
    }
    const at::Tensor weights = normal(y.sizes(), 93);
    tensor::run_backward(y, weights);
    EXPECT_LT(relative_error(space.gradient(bias), at::sum(weights.to(at::kDouble), at::IntArrayRef{0})),
              tolerance(at::kFloat, 4));
  }
}

TEST(ModuleDropout, KeepsEverythingWhereItIsNotDrawn) {
  AdapterConfig config = config_of(row_of("output"));
  config.rank_dropout = 0.0;
  config.module_dropout = 1e-6;
  const AdaptedLayer layer = test::adapted_layer(config, true, layer_case("linear", true));
  layer.adapters->draw_dropout(kSeed, kStep);
  EXPECT_EQ(layer.adapters->find_drawn(0), layer.adapters->find(0));
}

/// Two trials side by side, one of which may leave the layer out: each has the bits of running alone.
class PartDropoutOfPacks : public ::testing::TestWithParam<const char*> {};

TEST_P(PartDropoutOfPacks, SegmentsAreBitwiseTheirSoloRuns) {
  constexpr std::int64_t kRows = 32;
  AdapterConfig second = config_of(row_of(GetParam() == std::string("left out") ? "output" : GetParam()));
  if (GetParam() == std::string("left out")) {
    second.module_dropout = AdapterConfig::kMaximumDropout;
  }
  std::vector<AdaptedLayer> trials;
  for (const AdapterConfig& config : {config_of(row_of("output")), second}) {
    trials.push_back(test::adapted_layer(config, true, layer_case("linear", true)));
    trials.back().adapters->draw_dropout(RandomKey{trials.size()}, kStep);
  }
  const at::Tensor x = layer_case_input(trials[0].layers[0].site, 2 * kRows, 101);
  const at::Tensor weights = normal({2 * kRows, trials[0].layers[0].site.out}, 102);
  Pack pack;
  std::vector<at::Tensor> outputs;
  std::vector<at::Tensor> gradients;
  for (std::int64_t i = 0; i < 2; ++i) {
    AdaptedLayer& trial = trials[static_cast<std::size_t>(i)];
    const at::Tensor y = apply_layer(x.narrow(0, i * kRows, kRows).contiguous(), trial.layers[0], training(trial));
    tensor::run_backward(y, weights.narrow(0, i * kRows, kRows).contiguous());
    outputs.push_back(y.detach());
    gradients.push_back(trial.gradient.clone());
    trial.gradient.zero_();
    pack.segments.push_back(training(trial).segments.front());
    pack.segments.back().first_sample = i;
  }
  const at::Tensor y = apply_layer(x, trials[0].layers[0], pack);
  tensor::run_backward(y, weights);
  EXPECT_TRUE(at::equal(y.detach(), at::cat(outputs, 0)));
  for (std::size_t i = 0; i < trials.size(); ++i) {
    EXPECT_TRUE(at::equal(trials[i].gradient, gradients[i])) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Seconds, PartDropoutOfPacks, ::testing::Values("plain", "output", "input", "left out"));

TEST(PartDropout, GoesWithDropoutOfTheInput) {
  AdapterConfig config = config_of(row_of("plain"));
  config.dropout = 0.3;
  const AdaptedLayer both = test::adapted_layer(config, true, layer_case("linear", false));
  both.adapters->draw_dropout(kSeed, kStep);
  const at::Tensor x = layer_case_input(both.layers[0].site, 4, 92);
  const at::Tensor base = apply_layer(x, both.layers[0], Pack::solo(nullptr, 1));
  config.rank_dropout = 0.0;
  const AdaptedLayer inputs = test::adapted_layer(config, true, layer_case("linear", false));
  const at::Tensor factors = row_factors(part_dropout_key(kSeed, kStep, kName), both.layers[0].site.out, kRate, false);
  const at::Tensor expected = apply_layer(x, inputs.layers[0], training(inputs)).sub(base).mul(factors).add(base);
  EXPECT_LT(relative_error(apply_layer(x, both.layers[0], training(both)), expected.to(at::kDouble)),
            tolerance(at::kFloat, both.layers[0].site.in));
}

TEST(PartDropout, AnUpdateWithoutADrawIsABug) {
  const AdaptedLayer layer = test::adapted_layer(config_of(row_of("output")), true, layer_case("linear", true));
  const at::Tensor x = layer_case_input(layer.layers[0].site, 4, 92);
  EXPECT_THROW(static_cast<void>(apply_layer(x, layer.layers[0], training(layer))), Error);
  layer.adapters->draw_dropout(kSeed, kStep);
  EXPECT_NO_THROW(static_cast<void>(apply_layer(x, layer.layers[0], training(layer))));
  layer.adapters->space().mark_written();
  layer.adapters->refresh();
  EXPECT_THROW(static_cast<void>(apply_layer(x, layer.layers[0], training(layer))), Error);
}

TEST(PartDropout, DrawsFollowTheirRatesAndEveryPartOfTheKey) {
  constexpr std::int64_t kRows = 40'000;
  const RandomKey key = part_dropout_key(kSeed, kStep, kName);
  const at::Tensor factors = row_factors(key, kRows, kRate, false);
  // A share of 40000 draws has a standard error of 0.0025.
  EXPECT_NEAR(factors.mean().item<double>(), 1.0 - kRate, 0.0125);
  EXPECT_TRUE(at::equal(factors, row_factors(key, kRows, kRate, false)));
  const at::Tensor scaled = row_factors(key, kRows, kRate, true);
  EXPECT_NEAR(scaled.to(at::kDouble).mean().item<double>(), 1.0, 1e-6);
  EXPECT_TRUE(at::equal(scaled.gt(0.0), factors.gt(0.0)));
  EXPECT_EQ(row_factors(key, 1, 0.999, true).item<float>(), 0.0F) << "no row is left, and nothing is divided by 0";
  for (const RandomKey other : {part_dropout_key(RandomKey{8}, kStep, kName), part_dropout_key(kSeed, 5, kName),
                                part_dropout_key(kSeed, kStep, "block.1.q_proj")}) {
    EXPECT_FALSE(at::equal(factors, row_factors(other, kRows, kRate, false)));
  }
  std::int64_t left_out = 0;
  for (std::int64_t step = 0; step < kRows; ++step) {
    left_out += leaves_out(part_dropout_key(kSeed, step, kName), 0.25) ? 1 : 0;
  }
  EXPECT_NEAR(static_cast<double>(left_out) / kRows, 0.25, 0.011);  // five standard errors
}

}  // namespace
}  // namespace dormer::adapter
