#include "dormer/tensor/operations.hpp"

#include <cmath>
#include <tuple>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/full.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/logspace.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "dormer/tensor/differentiable.hpp"
#include "support/tensor_comparison.hpp"

namespace dormer::tensor {
namespace {

using test::normal;
using test::relative_error;
using test::tolerance;

at::Tensor leaf(const at::Tensor& values, at::ScalarType dtype) {
  return values.to(dtype).detach().set_requires_grad(true);
}
/// The same values in fp64, for LibTorch's own operations as the reference.
at::Tensor exact(const at::Tensor& values) {
  return values.detach().to(at::kDouble).set_requires_grad(true);
}

class EveryDtype : public ::testing::TestWithParam<at::ScalarType> {};

TEST_P(EveryDtype, RmsNormAndItsGradientMatchTheFormula) {
  const at::Tensor x = leaf(normal({37, 72}, 1, 3.0), GetParam());
  const at::Tensor weight = normal({72}, 2);
  const at::Tensor gradient = normal({37, 72}, 3).to(GetParam());
  const at::Tensor y = rms_norm(x, weight, 1e-5);
  run_backward(y, gradient);
  const at::Tensor x64 = exact(x);
  const at::Tensor y64 = x64.mul(at::rsqrt(at::mean(x64.mul(x64), {1}, true).add(1e-5))).mul(weight.to(at::kDouble));
  y64.backward(gradient.to(at::kDouble));
  EXPECT_LT(relative_error(y, y64), tolerance(GetParam(), 72));
  EXPECT_LT(relative_error(x.grad(), x64.grad()), tolerance(GetParam(), 72));
}

TEST_P(EveryDtype, GatedUnitsAndTheirGradientsMatchTheFormula) {
  for (const GateFunction function : {GateFunction::kSilu, GateFunction::kGeluTanh}) {
    const at::Tensor gate = leaf(normal({19, 41}, 4, 3.0), GetParam());
    const at::Tensor up = leaf(normal({19, 41}, 5), GetParam());
    const at::Tensor gradient = normal({19, 41}, 6).to(GetParam());
    const at::Tensor y = gated_unit(gate, up, function);
    run_backward(y, gradient);
    const at::Tensor gate64 = exact(gate);
    const at::Tensor up64 = exact(up);
    const at::Tensor opened = function == GateFunction::kSilu ? at::silu(gate64) : at::gelu(gate64, "tanh");
    const at::Tensor y64 = opened.mul(up64);
    y64.backward(gradient.to(at::kDouble));
    EXPECT_LT(relative_error(y, y64), tolerance(GetParam(), 8));
    EXPECT_LT(relative_error(gate.grad(), gate64.grad()), tolerance(GetParam(), 8));
    EXPECT_LT(relative_error(up.grad(), up64.grad()), tolerance(GetParam(), 8));
  }
}

TEST(SoftCap, MatchesTheFormulaFromTinyToHugeLogits) {
  const at::Tensor logits = at::cat({at::logspace(-6, 4, 201), at::logspace(-6, 4, 201).neg(), at::zeros({1})});
  const at::Tensor capped = logits.clone();
  soft_cap_(capped, 30.0);
  const at::Tensor expected = logits.to(at::kDouble).div(30.0).tanh().mul(30.0);
  // Four roundings of fp32 and, above a fifth of the cap, one of 1 - 2/(1 + e^2u) against a fifth.
  EXPECT_LT(capped.sub(expected).abs().div(expected.abs().add(1e-30)).narrow(0, 0, 402).max().item<double>(), 1e-6);
  EXPECT_EQ(capped[402].item<float>(), 0.0F);
}

TEST_P(EveryDtype, LossInChunksMatchesTheWholeLogits) {
  const at::Tensor hidden = leaf(normal({601, 24}, 7), GetParam());  // three chunks, the last one short
  const at::Tensor head = normal({97, 24}, 8).to(GetParam());
  at::Tensor targets = at::arange(0, 601, at::kLong).remainder_(97);
  targets.narrow(0, 500, 20).fill_(-100);
  for (const double cap : {0.0, 3.0}) {
    hidden.mutable_grad() = at::Tensor();
    const CrossEntropySums sums =
        linear_cross_entropy(hidden, head, targets, {.divisor = 581.0, .backward = true, .soft_cap = cap});
    const at::Tensor hidden64 = exact(hidden);
    const at::Tensor logits = at::matmul(hidden64, head.to(at::kDouble).t());
    const at::Tensor loss = at::cross_entropy_loss(cap > 0.0 ? logits.div(cap).tanh().mul(cap) : logits, targets);
    loss.backward();
    EXPECT_EQ(sums.targets, 581);
    EXPECT_LT(std::abs(sums.loss_sum / 581.0 - loss.item<double>()) / loss.item<double>(), tolerance(GetParam(), 24));
    EXPECT_LT(relative_error(hidden.grad(), hidden64.grad()), tolerance(GetParam(), 97));
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, EveryDtype, ::testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& row) { return row.param == at::kFloat ? "float32" : "bfloat16"; });

// ---- attention against plain operations in fp64 ----

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cosine,
                  const at::Tensor& sine) {  // [batch, heads, positions, width]
  const std::int64_t half = x.size(3) / 2;
  const at::Tensor first = x.narrow(3, 0, half);
  const at::Tensor second = x.narrow(3, half, half);
  return at::cat({first.mul(cosine).sub(second.mul(sine)), second.mul(cosine).add(first.mul(sine))}, 3);
}

at::Tensor reference_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& angles,
                               const AttentionShape& shape) {
  const at::Tensor cosine = at::cos(angles.to(at::kDouble));
  const at::Tensor sine = at::sin(angles.to(at::kDouble));
  const std::int64_t heads = shape.groups * shape.heads_per_group;
  const auto split = [&](const at::Tensor& x, std::int64_t count) {
    return x.view({shape.batch, shape.positions, count, shape.width}).transpose(1, 2);
  };
  const at::Tensor query = rotate(split(q, heads), cosine, sine);
  const at::Tensor key = rotate(split(k, shape.groups), cosine, sine).repeat_interleave(shape.heads_per_group, 1);
  const at::Tensor value = split(v, shape.groups).repeat_interleave(shape.heads_per_group, 1);
  at::Tensor mask = at::full({shape.positions, shape.positions}, -INFINITY, at::kDouble).triu(1);
  if (shape.window > 0) {
    mask = mask.add(at::full({shape.positions, shape.positions}, -INFINITY, at::kDouble).tril(-shape.window));
  }
  at::Tensor scores = at::matmul(query, key.transpose(2, 3)).mul(shape.scale);
  if (shape.soft_cap > 0.0) {
    scores = scores.div(shape.soft_cap).tanh().mul(shape.soft_cap);
  }
  scores = scores.add(mask);
  return at::matmul(at::softmax(scores, -1), value)
      .transpose(1, 2)
      .reshape({shape.batch * shape.positions, heads * shape.width});
}

struct AttentionCase {
  std::int64_t batch, positions, groups, heads_per_group, width;
  double soft_cap = 0.0;
  std::int64_t window = 0;
};

class EveryAttention : public ::testing::TestWithParam<AttentionCase> {};

TEST_P(EveryAttention, MatchesPlainOperationsWithItsGradients) {
  const AttentionCase c = GetParam();
  const AttentionShape shape{c.batch,           c.positions, c.groups,
                             c.heads_per_group, c.width,     1.0 / std::sqrt(static_cast<double>(c.width)),
                             c.soft_cap,        c.window};
  const std::int64_t rows = c.batch * c.positions;
  const at::Tensor q = leaf(normal({rows, c.groups * c.heads_per_group * c.width}, 31, 2.0), at::kFloat);
  const at::Tensor k = leaf(normal({rows, c.groups * c.width}, 32, 2.0), at::kFloat);
  const at::Tensor v = leaf(normal({rows, c.groups * c.width}, 33), at::kFloat);
  const at::Tensor angles = normal({c.positions, c.width / 2}, 34, 3.0);
  const at::Tensor cosine = at::cos(angles);
  const at::Tensor sine = at::sin(angles);
  const at::Tensor gradient = normal(q.sizes(), 35);
  const at::Tensor y = causal_attention(q, k, v, {cosine, sine}, shape);
  run_backward(y, gradient);
  const at::Tensor q64 = exact(q);
  const at::Tensor k64 = exact(k);
  const at::Tensor v64 = exact(v);
  const at::Tensor y64 = reference_attention(q64, k64, v64, angles, shape);
  y64.backward(gradient.to(at::kDouble));
  const double bound = tolerance(at::kFloat, c.positions * c.width);
  EXPECT_LT(relative_error(y, y64), bound);
  EXPECT_LT(relative_error(q.grad(), q64.grad()), bound);
  EXPECT_LT(relative_error(k.grad(), k64.grad()), bound);
  EXPECT_LT(relative_error(v.grad(), v64.grad()), bound);
}

TEST_P(EveryAttention, WithACacheGivesTheSameValuesPieceByPiece) {
  const AttentionCase c = GetParam();
  AttentionShape shape{1, c.positions, c.groups, c.heads_per_group, c.width, 0.3, c.soft_cap, c.window};
  const at::Tensor q = normal({c.positions, c.groups * c.heads_per_group * c.width}, 41);
  const at::Tensor k = normal({c.positions, c.groups * c.width}, 42);
  const at::Tensor v = normal({c.positions, c.groups * c.width}, 43);
  const at::Tensor cosine = at::cos(normal({c.positions, c.width / 2}, 44));
  const at::Tensor sine = at::sin(normal({c.positions, c.width / 2}, 44));
  const at::Tensor whole = causal_attention(q, k, v, {cosine, sine}, shape);
  at::Tensor past_key;
  at::Tensor past_value;
  std::vector<at::Tensor> pieces;
  for (std::int64_t first = 0; first < c.positions;) {
    shape.positions = std::min<std::int64_t>(first == 0 ? 3 : 1, c.positions - first);
    const auto piece = [&](const at::Tensor& x) { return x.narrow(0, first, shape.positions).contiguous(); };
    const at::Tensor piece_cosine = piece(cosine);
    const at::Tensor piece_sine = piece(sine);
    pieces.push_back(
        cached_attention(piece(q), piece(k), piece(v), {piece_cosine, piece_sine}, shape, past_key, past_value));
    first += shape.positions;
  }
  EXPECT_LT(relative_error(at::cat(pieces, 0), whole), tolerance(at::kFloat, c.positions * c.width));
}

INSTANTIATE_TEST_SUITE_P(Shapes, EveryAttention,
                         ::testing::Values(AttentionCase{2, 9, 2, 3, 8}, AttentionCase{1, 1, 1, 1, 2},
                                           AttentionCase{1, 300, 1, 2, 6},  // several blocks of positions
                                           AttentionCase{1, 530, 1, 1, 4},  // probabilities computed again
                                           AttentionCase{3, 128, 3, 1, 10}, AttentionCase{2, 33, 2, 2, 8, 1.5},
                                           AttentionCase{2, 33, 2, 2, 8, 0.0, 7},
                                           AttentionCase{1, 300, 1, 2, 6, 2.0, 140},
                                           AttentionCase{1, 530, 1, 1, 4, 2.0, 1}));

TEST(Differentiable, RecordsNothingWhereNothingIsTrained) {
  const at::Tensor x = normal({3, 8}, 51);
  EXPECT_FALSE(rms_norm(x, at::ones({8}), 1e-5).requires_grad());
  const at::Tensor trained = leaf(x, at::kFloat);
  const NoRecording guard;
  EXPECT_FALSE(rms_norm(trained, at::ones({8}), 1e-5).requires_grad());
}

}  // namespace
}  // namespace dormer::tensor
