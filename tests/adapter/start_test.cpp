// Factors that start from the frozen weight, and a change that is counted from there.
#include "dormer/adapter/start.hpp"

#include <cmath>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include "adapted_layer.hpp"
#include "adapter/adapter.hpp"
#include "adapter/weight_factors.hpp"
#include "dormer/adapter/effective_weight.hpp"
#include "dormer/adapter/weight_change.hpp"
#include "dormer/core/error.hpp"

namespace dormer::adapter {
namespace {

using test::adapted_layer;
using test::AdaptedLayer;
using test::frozen_layer;
using test::normal;
using test::relative_error;
using test::tolerance;
using ::testing::HasSubstr;

constexpr std::int64_t kOut = 48;
constexpr std::int64_t kIn = 72;
constexpr std::int64_t kRank = 3;
constexpr double kScale = 2.0;

AdapterConfig config_of(const std::string& start, bool decompose = false) {
  AdapterConfig config;
  config.rank = kRank;
  config.alpha.text = "2*rank";
  config.targets = {"q_proj"};
  config.start = start;
  if (decompose) {
    config.decompose.emplace();
  }
  return config;
}

/// s Bᵀ A in fp64.
at::Tensor taken(const WeightFactors& factors, double scale) {
  return at::mm(factors.b.t().to(at::kDouble), factors.a.to(at::kDouble)).mul(scale);
}

FactorRequest request(Start start, std::int64_t iterations = 0) {
  return {.rule = {.start = start, .iterations = iterations}, .rank = kRank, .scale = kScale, .key = RandomKey{3}};
}

double squares(const at::Tensor& values) {
  return values.mul(values).sum().item<double>();
}

/// Eckart and Young 1936: no matrix of this rank is nearer.
TEST(FactorsOfWeight, PissaTakesTheBestApproximationAndSharesTheSingularValues) {
  for (const bool wide : {false, true}) {
    const at::Tensor w = wide ? normal({kIn, kOut}, 71).t().contiguous() : normal({kIn, kOut}, 71);
    const WeightFactors factors = factors_of_weight(w, request(Start::kPissa));
    const at::Tensor values = std::get<1>(at::linalg_svd(w.to(at::kDouble)));
    const at::Tensor rest = w.to(at::kDouble).sub(taken(factors, kScale));
    EXPECT_NEAR(squares(rest) / squares(values.narrow(0, kRank, values.size(0) - kRank)), 1.0, 1e-6);
    for (std::int64_t i = 0; i < kRank; ++i) {
      const double share = values[i].item<double>() / kScale;
      EXPECT_NEAR(squares(factors.a[i]) / share, 1.0, 1e-6);
      EXPECT_NEAR(squares(factors.b[i]) / share, 1.0, 1e-6);
    }
  }
}

TEST(FactorsOfWeight, TheRandomizedDecompositionFindsTheLargestPartsAndTheSameBitsAgain) {
  // Singular values 1, 1/2, 1/4, …: five iterations leave a share of 2^-11 of each next direction, whose square counts.
  const at::Tensor left = std::get<0>(at::linalg_qr(normal({kOut, 8}, 1).to(at::kDouble)));
  const at::Tensor right = std::get<0>(at::linalg_qr(normal({kIn, 8}, 2).to(at::kDouble)));
  const at::Tensor values = at::linspace(0.0, -7.0, 8, at::kDouble).exp2();
  const at::Tensor w = at::mm(left.mul(values), right.t()).to(at::kFloat);
  const at::Tensor exact = taken(factors_of_weight(w, request(Start::kPissa)), kScale);
  const WeightFactors fast = factors_of_weight(w, request(Start::kPissaFast, 5));
  EXPECT_LT(squares(taken(fast, kScale).sub(exact)) / squares(exact), 1e-6);
  const WeightFactors again = factors_of_weight(w, request(Start::kPissaFast, 5));
  EXPECT_TRUE(at::equal(fast.a, again.a) && at::equal(fast.b, again.b));
  FactorRequest other = request(Start::kPissaFast, 0);
  const WeightFactors rough = factors_of_weight(w, other);
  other.key = RandomKey{4};
  EXPECT_FALSE(at::equal(factors_of_weight(w, other).a, rough.a)) << "other samples";
}

TEST(FactorsOfWeight, OloraTakesTheFirstColumnsOfQAndRowsOfR) {
  const at::Tensor w = normal({kOut, kIn}, 71);
  const WeightFactors factors = factors_of_weight(w, request(Start::kOlora));
  const at::Tensor b = factors.b.to(at::kDouble);
  EXPECT_LT(squares(at::mm(b, b.t()).sub(at::eye(kRank, at::kDouble))), 1e-12) << "orthonormal";
  // The first columns of W are combinations of those of Q, and B A has no other part of them.
  const at::Tensor product = taken(factors, 1.0);
  EXPECT_LT(relative_error(product.narrow(1, 0, kRank), w.narrow(1, 0, kRank)), tolerance(at::kFloat, kRank));
  EXPECT_LT(relative_error(at::mm(b, w.to(at::kDouble)), factors.a), tolerance(at::kFloat, kOut));
}

TEST(FactorsOfWeight, TheLargestElementOfEveryRowOfAIsPositive) {
  for (const Start start : {Start::kPissa, Start::kPissaFast, Start::kOlora}) {
    const at::Tensor a = factors_of_weight(normal({kOut, kIn}, 71), request(start, 4)).a;
    for (std::int64_t i = 0; i < kRank; ++i) {
      EXPECT_EQ(a[i].max().item<float>(), a[i].abs().max().item<float>());
    }
  }
}

TEST(Start, GaussianIsNormalWithDeviationOneOverRank) {
  const AdaptedLayer layer = adapted_layer(config_of("gaussian"), false, frozen_layer(kOut, 4'000, false));
  const tensor::FlatSpace& space = layer.adapters->space();
  const at::Tensor a = tensor::FlatSpace::unpadded_part(space.values(), space.entries()[0]).to(at::kDouble);
  // Mean, variance and fourth moment of 12000 numbers: standard errors 1/110, sqrt(2)/110 and sqrt(96)/110.
  const at::Tensor unit = a.mul(static_cast<double>(kRank));
  EXPECT_NEAR(unit.mean().item<double>(), 0.0, 4.0 / 110);
  EXPECT_NEAR(unit.pow(2).mean().item<double>(), 1.0, 4.0 * 1.42 / 110);
  EXPECT_NEAR(unit.pow(4).mean().item<double>(), 3.0, 4.0 * 9.8 / 110);
  EXPECT_EQ(squares(space.value(1)), 0.0);
}

TEST(Start, IsTheBaseExactlyInEveryMeasure) {
  for (const char* start : {"pissa", "pissa_fast", "olora"}) {
    const AdaptedLayer layer = adapted_layer(config_of(start, true), false, frozen_layer(kOut, kIn, false));
    const at::Tensor& weight = layer.layers[0].weight.values();
    EXPECT_TRUE(at::equal(effective_weight(*layer.adapters, layer.layers[0].site, weight), weight)) << start;
    const WeightChange change = measure_weight_changes(*layer.adapters, layer.layers).at(0);
    EXPECT_EQ(change.magnitude, 0.0);
    EXPECT_EQ(change.direction, 0.0);
    EXPECT_GT(squares(layer.adapters->space().value(1)), 0.1) << "B is not zero";
  }
}

/// The whole function is in parameters and start values: what a checkpoint holds is enough.
TEST(Start, GivenValuesMakeTheSameLayer) {
  for (const char* start : {"pissa", "olora"}) {
    const AdaptedLayer first = adapted_layer(config_of(start, true), true, frozen_layer(kOut, kIn, true));
    AdapterSet second(config_of(start, true), first.layers, RandomKey{5}, {}, StartOrigin::kGiven);
    EXPECT_EQ(squares(second.start_values().at(0).second), 0.0) << "nothing was decomposed";
    const auto values = first.adapters->start_values();
    ASSERT_EQ(values.size(), 2U);
    for (std::size_t i = 0; i < values.size(); ++i) {
      EXPECT_EQ(second.start_values()[i].first, values[i].first);
      second.start_values()[i].second.copy_(values[i].second);
    }
    second.space().values().copy_(first.adapters->space().values());
    second.space().mark_written();
    second.refresh();
    const at::Tensor x = normal({5, kIn}, 90);
    EXPECT_TRUE(at::equal(apply_layer(x, first.layers[0], Pack::solo(&second, 1)),
                          apply_layer(x, first.layers[0], Pack::solo(first.adapters.get(), 1))));
  }
}

TEST(Start, StackedFactorsAreThePlainLowRankChange) {
  const AdaptedLayer layer = adapted_layer(config_of("pissa"), true, frozen_layer(kOut, kIn, false));
  const std::vector<at::Tensor> factors = layer.adapters->stacked_factors(0);
  ASSERT_EQ(factors.size(), 2U);
  EXPECT_EQ(factors[0].sizes().vec(), (std::vector<std::int64_t>{2 * kRank, kIn}));
  EXPECT_EQ(factors[1].sizes().vec(), (std::vector<std::int64_t>{kOut, 2 * kRank}));
  // The definition: s (B A - B0 A0).
  const tensor::FlatSpace& space = layer.adapters->space();
  const auto start = layer.adapters->start_values();
  const auto product = [](const at::Tensor& a, const at::Tensor& b) {
    return at::mm(b.t().to(at::kDouble), a.to(at::kDouble));
  };
  const at::Tensor expected =
      product(space.value(0), space.value(1)).sub(product(start[0].second, start[1].second)).mul(kScale);
  const at::Tensor stacked = at::mm(factors[1].to(at::kDouble), factors[0].to(at::kDouble)).mul(kScale);
  EXPECT_LT(relative_error(stacked, expected), tolerance(at::kFloat, 2 * kRank));
  EXPECT_LT(relative_error(layer.adapters->find(0)->change().dense_rows(0, kOut), expected),
            tolerance(at::kFloat, 2 * kRank));
  EXPECT_TRUE(
      adapted_layer(config_of("kaiming"), true, frozen_layer(kOut, kIn, false)).adapters->stacked_factors(0).empty());
}

/// In bfloat16 the factors themselves have 8 bits: a movement of 1e-4 of them is lost there, and not here.
TEST(Start, SmallMovementsKeepTheirDigitsInHalfPrecision) {
  AdaptedLayer layer = adapted_layer(config_of("pissa"), false, frozen_layer(kOut, kIn, false, at::kBFloat16));
  tensor::FlatSpace& space = layer.adapters->space();
  for (std::size_t i = 0; i < 2; ++i) {
    space.value(i).narrow(0, 0, kRank).mul_(normal({kRank, 1}, 7 + i, 1e-4).add(1.0));
  }
  space.mark_written();
  layer.adapters->refresh();
  const Change& change = layer.adapters->find(0)->change();
  const at::Tensor x = normal({5, kIn}, 90).to(at::kBFloat16);
  at::Tensor y = at::zeros({5, kOut}, at::kBFloat16);
  static_cast<void>(change.add_forward(x, y));
  const at::Tensor expected = at::mm(x.to(at::kDouble), change.dense_rows(0, kOut).to(at::kDouble).t());
  EXPECT_LT(relative_error(y, expected), tolerance(at::kBFloat16, 4));
}

std::string problem_of(const AdapterConfig& config, const std::vector<Site>& sites) {
  try {
    static_cast<void>(plan_sites(config, sites));
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kUsage);
    return error.what();
  }
  return "";
}

TEST(Start, OtherKindsAndLayersAreRefusedByName) {
  std::vector<Site> sites{frozen_layer(kOut, kIn, false).site};
  AdapterConfig config = config_of("olora");
  EXPECT_EQ(problem_of(config, sites), "");
  config.kind = "loha";
  EXPECT_THAT(problem_of(config, sites),
              HasSubstr("adapter.start: olora is a start of kind: lora on linear layers, and block.0.q_proj (linear "
                        "layer) has kind: loha"));
  config.kind = "lora";
  sites[0].form = LayerForm::kEmbedding;
  EXPECT_THAT(problem_of(config, sites), HasSubstr("block.0.q_proj (embedding) has kind: lora"));
  sites[0].form = LayerForm::kLinear;
  for (const char* kind : {"locon", "loha", "lokr"}) {
    AdapterConfig other = config_of("eva");
    other.kind = kind;
    EXPECT_THAT(problem_of(other, sites), HasSubstr("adapter.start: eva is a start of kind: lora on linear layers"));
  }
  config.kind = "full";
  sites[0].form = LayerForm::kLinear;
  EXPECT_THAT(problem_of(config, sites), HasSubstr("adapter.start: kind: full has none; take start away"));
  config.kind = "lora";
  config.overrides = {{.match = "q_proj", .kind = "full"}};
  EXPECT_THAT(problem_of(config, sites), HasSubstr("take start away"));
}

}  // namespace
}  // namespace dormer::adapter
