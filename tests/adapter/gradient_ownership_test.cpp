#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/add.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include "adapted_layer.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "layer_cases.hpp"

namespace dormer::adapter {
namespace {

struct Row {
  std::string kind;
  std::string layer;
  std::string axis;
  double dropout = 0.0;

  friend std::ostream& operator<<(std::ostream& out, const Row& row) {
    return out << row.kind << "_" << row.layer << "_" << row.axis << (row.dropout > 0.0 ? "_dropout" : "");
  }
};

class GradientOwnership : public ::testing::TestWithParam<Row> {};

/// The backward pass of a decomposed layer writes into its output's gradient where that is its own alone.
TEST_P(GradientOwnership, OverwritesNoGradientThatSomebodyElseHolds) {
  const Row& row = GetParam();
  AdapterConfig config;
  config.kind = row.kind;
  config.rank = 3;
  config.alpha.text = "2*rank";
  config.targets = {"q_proj"};
  config.bias = "adapter_only";
  config.dropout = row.dropout;
  if (row.axis != "plain") {
    config.decompose.emplace(DecomposeConfig{row.axis});
  }
  const test::AdaptedLayer layer = test::adapted_layer(config, true, test::layer_case(row.layer, true));
  const Site& site = layer.layers[0].site;
  const auto run = [&](const std::function<at::Tensor(const at::Tensor& y)>& after, const at::Tensor& weights) {
    layer.gradient.zero_();
    const at::Tensor x = test::layer_case_input(site, 4, 97).set_requires_grad(true);
    Pack pack = Pack::solo(layer.adapters.get(), 4);
    if (row.dropout > 0.0) {
      pack.segments[0].dropout_keys.assign(4, RandomKey{3});
    }
    tensor::run_backward(after(apply_layer(x, layer.layers[0], pack)), weights);
    return std::vector<at::Tensor>{layer.gradient.clone(), x.grad()};
  };
  const auto equal = [](const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
    return at::equal(a[0], b[0]) && at::equal(a[1], b[1]);
  };
  const at::Tensor x = test::layer_case_input(site, 4, 97);
  const at::Tensor given = test::normal(apply_layer(x, layer.layers[0], Pack::solo(nullptr, 4)).sizes(), 98);
  const at::Tensor weights = given.clone();
  const auto expected = run([](const at::Tensor& y) { return y; }, weights);
  EXPECT_TRUE(at::equal(weights, given));  // the caller's
  const at::Tensor beside = at::zeros_like(given).set_requires_grad(true);
  const auto shared = run([&](const at::Tensor& y) { return at::mul(at::add(y, beside), 1.0); }, weights);
  EXPECT_TRUE(at::equal(beside.grad(), given));  // a sum gives both of its terms one gradient
  EXPECT_TRUE(equal(shared, expected));
  const auto overwritten = run([](const at::Tensor& y) { return at::mul(y, 1.0); }, weights);
  EXPECT_TRUE(equal(overwritten, expected));
}

std::vector<Row> rows() {
  std::vector<Row> rows;
  for (const char* layer : {"linear", "convolution2d", "grouped2d"}) {
    for (const char* axis : {"plain", "output", "input"}) {
      for (const char* kind : {"locon", "loha", "lokr"}) {
        rows.push_back({kind, layer, axis});
      }
    }
  }
  for (const char* axis : {"output", "input"}) {
    rows.push_back({"lora", "linear", axis, 0.3});
  }
  return rows;
}

INSTANTIATE_TEST_SUITE_P(Rows, GradientOwnership, ::testing::ValuesIn(rows()),
                         [](const auto& test) { return ::testing::PrintToString(test.param); });

}  // namespace
}  // namespace dormer::adapter
