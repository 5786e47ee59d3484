#include "adapter/decomposition.hpp"

#include <cmath>

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sum.h>
#include <gtest/gtest.h>

#include "adapted_layer.hpp"
#include "adapter/adapter.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/process.hpp"
#include "dormer/tensor/weight_norms.hpp"

namespace dormer::adapter {
namespace {

using test::adapted_layer;
using test::AdaptedLayer;
using test::normal;
using test::relative_error;

FrozenLayer layer_with(const at::Tensor& weight) {
  FrozenLayer layer;
  layer.site = {"block.0.q_proj", "attention", 0, weight.size(0), weight.size(1), 0};
  layer.weight = {"block.0.q_proj.weight", weight, nullptr, false};
  return layer;
}

/// Of W + 2 B A in fp64, the factors rounded to `factors`.
at::Tensor dense_norm(const AdaptedLayer& layer, at::ScalarType factors = at::kFloat) {
  const at::Tensor& weight = layer.layers[0].weight.values();
  const tensor::FlatSpace& space = layer.adapters->space();
  const at::Tensor a = space.value(space.index_of("block.0.q_proj.lora_A")).to(factors).to(at::kDouble);
  const at::Tensor b = space.value(space.index_of("block.0.q_proj.lora_B")).to(factors).to(at::kDouble);
  return at::linalg_vector_norm(weight.to(at::kDouble).add(at::matmul(b.t(), a).mul(2.0)), 2, at::IntArrayRef{1});
}

/// In bfloat16 few ranks are those that the layer multiplies with; more stay in fp32.
TEST(Decomposition, NormsAreThoseOfTheDenseSum) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const std::int64_t rank : {7, 40}) {
      const AdaptedLayer layer =
          adapted_layer("lora", true, true, layer_with(normal({1'500, 257}, 111, 0.2).to(dtype)), rank);
      const at::Tensor& norm = layer.adapters->find(0)->decomposition()->norm();
      const at::Tensor expected = dense_norm(layer, rank == 7 ? dtype : at::kFloat);
      EXPECT_LT(relative_error(norm, expected), 27 * 0x1p-24);  // what 1/16 leaves of cancellation
    }
  }
}

/// W = -s B A + a little: the factored sum loses everything there, the guard computes the rows densely.
void expect_dense_norms_where_rows_cancel(std::int64_t rank) {
  AdaptedLayer layer = adapted_layer("lora", true, true, layer_with(normal({64, 96}, 121, 0.2)), rank);
  tensor::FlatSpace& space = layer.adapters->space();
  const at::Tensor a = space.value(space.index_of("block.0.q_proj.lora_A"));
  const at::Tensor b = space.value(space.index_of("block.0.q_proj.lora_B"));
  const at::Tensor opposite = at::matmul(b.t(), a).mul(-2.0).add(normal({64, 96}, 122, 1e-4));
  AdaptedLayer cancelling = adapted_layer("lora", true, false, layer_with(opposite), rank);
  tensor::FlatSpace& other = cancelling.adapters->space();
  other.value(other.index_of("block.0.q_proj.lora_A")).copy_(a);
  other.value(other.index_of("block.0.q_proj.lora_B")).copy_(b);
  other.mark_written();
  cancelling.adapters->refresh();
  const at::Tensor& norm = cancelling.adapters->find(0)->decomposition()->norm();
  // The rows' entries are about 1e-4 and rounded from terms of about 1: 1e-7 / 1e-4 remains possible per entry.
  EXPECT_LT(relative_error(norm, dense_norm(cancelling)), 2e-3);
}

TEST(Decomposition, RowsThatCancelAreComputedDensely) {
  expect_dense_norms_where_rows_cancel(4);
  expect_dense_norms_where_rows_cancel(40);
}

/// In bfloat16 a row of W is the opposite of Δ̂ but for W's own rounding, or the ranks are each other's opposites but
/// for that of B: both lose what products of the factors tell. The elements keep it.
TEST(Decomposition, CancellingNormsInBfloat16ComeFromElements) {
  const std::int64_t rank = 4;
  for (const Axis axis : {Axis::kOutput, Axis::kInput}) {
    const at::Tensor a = normal({rank, 96}, 123).to(at::kBFloat16);
    const at::Tensor b = normal({rank, 64}, 124).to(at::kBFloat16);
    const at::Tensor change = at::matmul(b.to(at::kDouble).t(), a.to(at::kDouble));
    const at::Tensor opposite = change.neg().to(at::kBFloat16);
    const at::Tensor twice_a = at::cat({a, a}, 0);
    const at::Tensor twice_b = at::cat({b, b.to(at::kFloat).mul(-1.0 + 0x1p-6).to(at::kBFloat16)}, 0);
    for (const bool of_ranks : {false, true}) {
      const at::Tensor weight = of_ranks ? normal({64, 96}, 125, 1e-3).to(at::kBFloat16) : opposite;
      const tensor::LowRankFactors factors{of_ranks ? twice_a : a, of_ranks ? twice_b : b};
      const int dimension = axis == Axis::kOutput ? 1 : 0;
      const at::Tensor base = at::sum(at::mul(weight.to(at::kDouble), weight.to(at::kDouble)), {dimension});
      const tensor::FrozenSquares frozen = [&] { return base.to(at::kFloat); };
      const at::Tensor squares = axis == Axis::kOutput ? tensor::row_squares(weight, factors, frozen)
                                                       : tensor::column_squares(weight, factors, frozen);
      const at::Tensor sum =
          at::matmul(factors.b.to(at::kDouble).t(), factors.a.to(at::kDouble)).add(weight.to(at::kDouble));
      const at::Tensor expected = at::sum(at::mul(sum, sum), {dimension});
      // An element is 2^-9 of its terms or more, and those are sums of eight roundings in fp32.
      EXPECT_LT(relative_error(squares, expected), 2 * 8 * 0x1p-24 * 0x1p9) << name_of(axis) << " " << of_ranks;
    }
  }
}

TEST(Decomposition, FrozenSquaresAreThoseOfTheWeight) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor weight = normal({70, 37, 3, 3}, 126).to(dtype);
    const tensor::BaseWeight base("weight", weight, nullptr, false);
    const at::Tensor squares = at::mul(weight.to(at::kDouble), weight.to(at::kDouble));
    EXPECT_LT(relative_error(base.squared_row_norms(), at::sum(squares, {1, 2, 3})), 8 * 0x1p-24);
    EXPECT_LT(relative_error(base.squared_column_norms(), at::sum(squares, {0, 2, 3})), 8 * 0x1p-24);
  }
}

/// Of ten layers the large ones are shared out among two threads and the others go to a thread whole; one layer alone
/// is shared out.
TEST(Decomposition, LayersRefreshedTogetherHaveTheNormsOfEachAlone) {
  tensor::configure_process(2);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const Axis axis : {Axis::kOutput, Axis::kInput}) {
      AdapterConfig config;
      config.rank = 5;
      config.targets = {"q_proj"};
      config.decompose.emplace().axis = name_of(axis);
      std::vector<FrozenLayer> layers;
      for (int i = 0; i < 10; ++i) {
        layers.push_back(layer_with(normal({700 - 60 * i, 90 + 50 * i}, 161, 0.2).to(dtype)));
        layers.back().site.name = fmt::format("block.{}.q_proj", i);
      }
      const auto norms_of = [&](std::vector<FrozenLayer> chosen) {
        for (std::size_t i = 0; i < chosen.size(); ++i) {
          chosen[i].site.index = i;
        }
        AdapterSet adapters(config, chosen, RandomKey{5});
        for (const tensor::ParameterEntry& entry : adapters.space().entries()) {
          tensor::FlatSpace::unpadded_part(adapters.space().values(), entry).fill_(0.25);
        }
        adapters.space().mark_written();
        adapters.refresh();
        std::vector<at::Tensor> norms;
        for (std::size_t i = 0; i < chosen.size(); ++i) {
          norms.push_back(adapters.find(i)->decomposition()->norm().clone());
        }
        return norms;
      };
      const std::vector<at::Tensor> together = norms_of(layers);
      for (std::size_t i = 0; i < layers.size(); ++i) {
        EXPECT_TRUE(at::equal(together[i], norms_of({layers[i]})[0])) << i;
      }
    }
  }
  tensor::configure_process(1);
}

TEST(Decomposition, AZeroRowKeepsFactorOneAndNoGradient) {
  const at::Tensor weight = normal({8, 16}, 131);
  weight.select(0, 3).zero_();
  AdaptedLayer layer = adapted_layer("lora", true, false, layer_with(weight), 2);
  EXPECT_EQ(layer.adapters->find(0)->decomposition()->factor()[3].item<float>(), 1.0F);
  const at::Tensor y = apply_layer(normal({4, 16}, 132), layer.layers[0], Pack::solo(layer.adapters.get(), 1));
  tensor::run_backward(y, normal({4, 8}, 133));
  EXPECT_TRUE(std::isfinite(layer.gradient.sum().item<double>()));
  const tensor::FlatSpace& space = layer.adapters->space();
  EXPECT_EQ(space.gradient(space.index_of("block.0.q_proj.magnitude"))[3].item<float>(), 0.0F);
}

/// A magnitude of zero hides the unscaled output: then that one is saved instead, and the gradient is right.
TEST(Decomposition, AZeroMagnitudeStillGetsItsGradient) {
  AdaptedLayer layer = adapted_layer("lora", true, true, layer_with(normal({8, 16}, 141)), 2);
  tensor::FlatSpace& space = layer.adapters->space();
  space.value(space.index_of("block.0.q_proj.magnitude"))[5].zero_();
  space.mark_written();
  layer.adapters->refresh();
  const at::Tensor x = normal({4, 16}, 142);
  const at::Tensor g = normal({4, 8}, 143);
  tensor::run_backward(apply_layer(x, layer.layers[0], Pack::solo(layer.adapters.get(), 1)), g);
  const at::Tensor delta = layer.adapters->find(0)->change().dense_rows(0, 8);
  const at::Tensor unscaled = at::matmul(x, layer.layers[0].weight.values().add(delta).t());
  const at::Tensor expected = unscaled.mul(g).sum(0).div(layer.adapters->find(0)->decomposition()->norm());
  EXPECT_LT(relative_error(space.gradient(space.index_of("block.0.q_proj.magnitude")), expected), 1e-5);
}

TEST(Decomposition, MagnitudesResetToTheNormsStartAtTheLoRAsFunction) {
  AdaptedLayer dora = adapted_layer("lora", true, true, layer_with(normal({24, 40}, 151, 0.2)), 4);
  AdaptedLayer lora = adapted_layer("lora", false, true, layer_with(normal({24, 40}, 151, 0.2)), 4);
  for (const char* name : {"block.0.q_proj.lora_A", "block.0.q_proj.lora_B"}) {
    dora.adapters->space()
        .value(dora.adapters->space().index_of(name))
        .copy_(lora.adapters->space().value(lora.adapters->space().index_of(name)));
  }
  dora.adapters->reset_magnitudes();
  const at::Tensor x = normal({5, 40}, 152);
  const auto run = [&](const AdaptedLayer& layer) {
    return apply_layer(x, layer.layers[0], Pack::solo(layer.adapters.get(), 1)).detach();
  };
  EXPECT_TRUE(at::equal(run(dora), run(lora)));  // the factor is exactly 1
}

}  // namespace
}  // namespace dormer::adapter
