#include "dormer/adapter/weight_change.hpp"

#include <cmath>

#include <ATen/core/Tensor.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <gtest/gtest.h>

#include "adapted_layer.hpp"
#include "adapter/adapter.hpp"

namespace dormer::adapter {
namespace {

using test::adapted_layer;
using test::AdaptedLayer;
using test::frozen_layer;

constexpr std::int64_t kOut = 48;
constexpr std::int64_t kIn = 72;

WeightChange measured(const AdaptedLayer& layer) {
  return measure_weight_changes(*layer.adapters, layer.layers).at(0);
}

at::Tensor row_norms(const at::Tensor& rows) {
  return at::linalg_vector_norm(rows, 2, at::IntArrayRef{1});
}

/// The definition, with dense rows in fp64.
WeightChange expected(const AdaptedLayer& layer) {
  const Adapter& adapter = *layer.adapters->find(0);
  const at::Tensor w = layer.layers[0].weight.values().to(at::kDouble);
  const at::Tensor v = w.add(adapter.change().dense_rows(0, kOut).to(at::kDouble));
  const at::Tensor unit = v.div(row_norms(v).unsqueeze(1)).sub(w.div(row_norms(w).unsqueeze(1)));
  const at::Tensor m = adapter.decomposition() == nullptr ? row_norms(v) : adapter.decomposition()->magnitude();
  // 1 - cos is half of the squared distance of the unit vectors.
  return {.site = {},
          .magnitude = m.to(at::kDouble).sub(row_norms(w)).abs().mean().item<double>(),
          .direction = unit.mul(unit).sum().item<double>() / 2.0 / kOut};
}

void scale_change(AdaptedLayer& layer, double factor) {
  tensor::FlatSpace& space = layer.adapters->space();
  space.value(space.index_of("block.0.q_proj.lora_B")).mul_(factor);
  space.mark_written();
  layer.adapters->refresh();
}

TEST(WeightChange, AFreshAdapterChangesNothing) {
  const WeightChange change = measured(adapted_layer("lora", true, false, frozen_layer(kOut, kIn, false)));
  EXPECT_EQ(change.site, "block.0.q_proj");
  EXPECT_EQ(change.magnitude, 0.0);
  EXPECT_EQ(change.direction, 0.0);
}

/// Down to changes of 1e-5 of the weight, whose 1 - cos is 1e-10: far below the last bit of an fp32 cosine.
TEST(WeightChange, IsTheDefinitionWithDenseRows) {
  for (const bool decompose : {true, false}) {
    for (const double factor : {1.0, 1e-2, 1e-5}) {
      AdaptedLayer layer = adapted_layer("lora", decompose, true, frozen_layer(kOut, kIn, false));
      scale_change(layer, factor);
      const WeightChange change = measured(layer);
      const WeightChange dense = expected(layer);
      // fp32 sums of kIn products; where nothing is decomposed the magnitude cancels to the share w·δ of |w| |δ|.
      const double tolerance = test::tolerance(at::kFloat, kIn);
      EXPECT_NEAR(change.direction / dense.direction, 1.0, tolerance) << decompose << " " << factor;
      EXPECT_NEAR(change.magnitude / dense.magnitude, 1.0, 8 * tolerance) << decompose << " " << factor;
    }
  }
}

TEST(WeightChange, IsTheDefinitionForChangesThatAreFormedByRows) {
  for (const bool decompose : {true, false}) {
    const AdaptedLayer layer = adapted_layer("loha", decompose, true, frozen_layer(kOut, kIn, false));
    const WeightChange change = measured(layer);
    const WeightChange dense = expected(layer);
    EXPECT_NEAR(change.direction / dense.direction, 1.0, test::tolerance(at::kFloat, kIn)) << decompose;
    EXPECT_NEAR(change.magnitude / dense.magnitude, 1.0, 8 * test::tolerance(at::kFloat, kIn)) << decompose;
  }
}

TEST(WeightChange, ARowThatTurnsBackCountsAsTurnedRound) {
  AdaptedLayer layer = adapted_layer("lora", false, true, frozen_layer(kOut, kIn, false), 3);
  scale_change(layer, 100.0);
  EXPECT_NEAR(measured(layer).direction / expected(layer).direction, 1.0, test::tolerance(at::kFloat, kIn));
  EXPECT_GT(measured(layer).direction, 0.5);
}

TEST(WeightChange, ARowOfZerosHasNoDirection) {
  FrozenLayer frozen = frozen_layer(kOut, kIn, false);
  frozen.weight.values().select(0, 5).zero_();
  const WeightChange change = measured(adapted_layer("lora", true, true, std::move(frozen)));
  EXPECT_TRUE(std::isfinite(change.direction));
  EXPECT_TRUE(std::isfinite(change.magnitude));
}

}  // namespace
}  // namespace dormer::adapter
