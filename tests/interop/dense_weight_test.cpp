#include "../../src/interop/dense_weight.hpp"

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/kron.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "made_layers.hpp"

namespace dormer::interop {
namespace {

constexpr const char* kName = "model.layers.0.mlp.up_proj";
constexpr std::int64_t kOut = 1'100;  // 1.1 million elements: more than one block of rows
constexpr std::int64_t kIn = 1'000;
constexpr std::int64_t kRank = 4;

at::Tensor tensor_of(const StoredArray& array) {
  return at::tensor(at::ArrayRef<float>(array.values)).view(array.shape).to(at::kDouble);
}

/// Δ in fp64 beside the layer that stores it.
struct Kind {
  std::string name;
  StoredLayer layer;
  at::Tensor change;
};

std::vector<Kind> kinds(std::optional<adapter::Axis> axis, std::int64_t norms) {
  using test::array;
  std::vector<Kind> result;
  const StoredArray a = array({kRank, kIn}, 1);
  const StoredArray b = array({kOut, kRank}, 2);
  result.push_back({"lora", test::layer_of(kName, {{"lora_A", a}, {"lora_B", b}}, 8.0, axis, norms),
                    at::mm(tensor_of(b), tensor_of(a)).mul(2.0)});
  const StoredArray b2 = array({kOut, kRank}, 3);
  const StoredArray a2 = array({kRank, kIn}, 4);
  result.push_back({"loha",
                    test::layer_of(kName, {{"hada_w1_a", b}, {"hada_w1_b", a}, {"hada_w2_a", b2}, {"hada_w2_b", a2}},
                                   8.0, axis, norms),
                    at::mm(tensor_of(b), tensor_of(a)).mul(at::mm(tensor_of(b2), tensor_of(a2))).mul(2.0)});
  const StoredArray small = array({20, 50}, 5);
  const StoredArray left = array({kOut / 20, kRank}, 6);
  const StoredArray right = array({kRank, kIn / 50}, 7);
  result.push_back(
      {"lokr", test::layer_of(kName, {{"lokr_w1", small}, {"lokr_w2_a", left}, {"lokr_w2_b", right}}, 8.0, axis, norms),
       at::kron(tensor_of(small), at::mm(tensor_of(left), tensor_of(right))).mul(2.0)});
  return result;
}

/// Both are sums of a few products in fp32 and one division: within 16 roundings of the largest element.
void expect_near(const at::Tensor& found, const at::Tensor& wanted, const std::string& what) {
  const double largest = wanted.abs().max().item<double>();
  EXPECT_LE(found.to(at::kDouble).sub(wanted).abs().max().item<double>(), 16 * 0x1p-24 * largest) << what;
}

TEST(DenseWeight, OfSeveralBlocksIsTheFormulaOfTheWhole) {
  const at::Tensor weight = tensor_of(test::array({kOut, kIn}, 9)).to(at::kFloat);
  for (const Kind& kind : kinds({}, 0)) {
    expect_near(dense_effective_weight(kName, kind.layer, weight), weight.to(at::kDouble).add(kind.change), kind.name);
  }
  for (const Kind& kind : kinds(adapter::Axis::kOutput, kOut)) {
    const at::Tensor sum = weight.to(at::kDouble).add(kind.change);
    const at::Tensor norm = at::linalg_vector_norm(sum, 2, at::IntArrayRef{1}, true);
    const at::Tensor magnitude = at::tensor(at::ArrayRef<float>(kind.layer.magnitude)).view({-1, 1});
    expect_near(dense_effective_weight(kName, kind.layer, weight), sum.mul(magnitude).div(norm), kind.name + ", rows");
  }
  for (const Kind& kind : kinds(adapter::Axis::kInput, kIn)) {
    const at::Tensor sum = weight.to(at::kDouble).add(kind.change);
    const at::Tensor norm = at::linalg_vector_norm(sum, 2, at::IntArrayRef{0}, true);
    const at::Tensor magnitude = at::tensor(at::ArrayRef<float>(kind.layer.magnitude)).view({1, -1});
    expect_near(dense_effective_weight(kName, kind.layer, weight), sum.mul(magnitude).div(norm),
                kind.name + ", columns");
  }
}

TEST(DenseWeight, BlocksAreSmallAndCoverEveryRow) {
  const Kind kind = kinds({}, 0).front();
  std::int64_t covered = 0;
  int blocks = 0;
  for_dense_rows(kName, kind.layer, [&](std::int64_t first, std::int64_t count) {
    EXPECT_EQ(first, covered);
    EXPECT_LE(count * kIn, std::int64_t{1} << 20);
    covered += count;
    ++blocks;
  });
  EXPECT_EQ(covered, kOut);
  EXPECT_EQ(blocks, 2);
}

}  // namespace
}  // namespace dormer::interop
