#include <algorithm>
#include <string>

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include "adapter/adapted_layer.hpp"
#include "adapter/layer_cases.hpp"
#include "dormer/adapter/kinds.hpp"
#include "dormer/core/error.hpp"
#include "dormer/interop/adapter_values.hpp"
#include "dormer/interop/consumer.hpp"

namespace dormer::interop {
namespace {

using test::AdaptedLayer;

/// An adapter on one layer, and what an export would hold of it.
struct Exported {
  AdaptedLayer layer;
  BaseFacts base;
  StoredAdapter stored;

  [[nodiscard]] StoredLayer& kept() { return stored.layers.begin()->second; }
  [[nodiscard]] bool same() const {
    try {
      require_same_function(stored, *layer.adapters, base);
    } catch (const Error&) {
      return false;
    }
    return true;
  }
};

Exported exported(const adapter::AdapterConfig& config, const std::string& layer_case, at::ScalarType dtype) {
  Exported result;
  result.layer = test::adapted_layer(config, true, test::layer_case(layer_case, false, dtype));
  result.base.layers = result.layer.layers;
  result.stored = stored_from(*result.layer.adapters, result.base);
  return result;
}

adapter::AdapterConfig config_of(const std::string& kind, std::int64_t rank, const std::string& axis) {
  adapter::AdapterConfig config;
  config.kind = kind;
  config.rank = rank;
  config.alpha.text = "2*rank";
  config.targets = {"q_proj"};
  if (!axis.empty()) {
    config.decompose.emplace(adapter::DecomposeConfig{axis});
  }
  return config;
}

/// Changes as large as W, in models of both dtypes: norms of rounded factors (docs/adr/0032) are no other function.
TEST(SameFunction, EveryKindOnEveryLayerIsWhatWasTrained) {
  const Registry<adapter::AdapterKind> kinds = adapter::adapter_kinds();
  for (const auto& [name, kind] : kinds.entries()) {
    for (const std::string& layer : test::kLayerCases) {
      const adapter::LayerForm form = test::layer_case_site(layer).form;
      if (kind.whole || std::ranges::find(kind.forms, form) == kind.forms.end()) {
        continue;
      }
      for (const std::string axis : {"", "output", "input"}) {
        if (form == adapter::LayerForm::kEmbedding && axis == "input") {
          continue;
        }
        for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
          EXPECT_TRUE(exported(config_of(std::string(name), 2, axis), layer, dtype).same())
              << name << ' ' << layer << ' ' << axis << ' ' << dtype;
        }
      }
    }
  }
}

TEST(SameFunction, FactorsThatStartedFromTheWeightAre) {
  for (const std::string& start : adapter::start_names()) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      adapter::AdapterConfig config = config_of("lora", 7, "output");
      config.start = start;
      EXPECT_TRUE(exported(config, "linear", dtype).same()) << start << ' ' << dtype;
    }
  }
}

TEST(SameFunction, AnotherAxisAnotherScaleAndOtherMagnitudesAreNot) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const auto spoiled = [&](auto spoil) {
      Exported one = exported(config_of("locon", 4, "input"), "convolution2d", dtype);
      spoil(one.kept());
      return one.same();
    };
    EXPECT_TRUE(spoiled([](StoredLayer&) {}));
    EXPECT_FALSE(spoiled([](StoredLayer& layer) { layer.scale *= 1.05; }));
    EXPECT_FALSE(spoiled([](StoredLayer& layer) { layer.axis.reset(); }));
    EXPECT_FALSE(spoiled([](StoredLayer& layer) {
      for (float& one : layer.magnitude) {
        one *= 1.05F;
      }
    }));
    EXPECT_FALSE(spoiled([](StoredLayer& layer) { layer.factors.begin()->second.values.front() *= 1.5F; })) << dtype;
  }
}

}  // namespace
}  // namespace dormer::interop
