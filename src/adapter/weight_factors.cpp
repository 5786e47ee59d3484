#include "weight_factors.hpp"

#include <ATen/ops/abs.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sign.h>

#include "dormer/core/error.hpp"
#include "initial_values.hpp"

namespace dormer::adapter {
namespace {

/// U [out, rank], S [rank] and Vᵀ [rank, in] of a matrix, the largest singular values first.
struct SingularParts {
  at::Tensor left;
  at::Tensor values;
  at::Tensor right;
};

at::Tensor orthonormal(const at::Tensor& columns) {
  return std::get<0>(at::linalg_qr(columns));
}

SingularParts exact_parts(const at::Tensor& w, std::int64_t rank) {
  const auto [left, values, right] = at::linalg_svd(w, false);
  return {left.narrow(1, 0, rank), values.narrow(0, 0, rank), right.narrow(0, 0, rank)};
}

/// Halko, Martinsson and Tropp 2011, algorithms 4.4 and 5.1, with as many samples as the rank, as PEFT has it.
SingularParts randomized_parts(const at::Tensor& w, const FactorRequest& request) {
  const at::Tensor samples = normal_numbers(request.key, {w.size(1), request.rank}).to(w.scalar_type());
  at::Tensor range = orthonormal(at::mm(w, samples));
  for (std::int64_t i = 0; i < request.rule.iterations; ++i) {
    range = orthonormal(at::mm(w, orthonormal(at::mm(w.t(), range))));
  }
  const SingularParts small = exact_parts(at::mm(range.t(), w), request.rank);
  return {at::mm(range, small.left), small.values, small.right};
}

WeightFactors from_singular_parts(const SingularParts& parts, double scale) {
  const at::Tensor roots = parts.values.div(scale).sqrt_();
  return {parts.right.mul(roots.unsqueeze(1)), parts.left.t().mul(roots.unsqueeze(1))};
}

WeightFactors from_triangle(const at::Tensor& w, std::int64_t rank) {
  const auto [orthogonal, triangle] = at::linalg_qr(w);
  return {triangle.narrow(0, 0, rank), orthogonal.narrow(1, 0, rank).t()};
}

WeightFactors with_settled_signs(const WeightFactors& factors) {
  const at::Tensor settled = settling_signs(factors.a);
  return {factors.a.mul(settled).to(at::kFloat).contiguous(), factors.b.mul(settled).to(at::kFloat).contiguous()};
}

}  // namespace

at::Tensor settling_signs(const at::Tensor& rows) {
  const at::Tensor largest = at::argmax(at::abs(rows), 1, true);
  const at::Tensor signs = at::sign(at::gather(rows, 1, largest));
  return signs.add(signs.eq(0.0));  // a row of zeros keeps its sign
}

WeightFactors factors_of_weight(const at::Tensor& weight, const FactorRequest& request) {
  const at::Tensor w = weight.cpu().to(at::kDouble);
  switch (request.rule.start) {
    case Start::kPissa:
      return with_settled_signs(from_singular_parts(exact_parts(w, request.rank), request.scale));
    case Start::kPissaFast:
      return with_settled_signs(from_singular_parts(randomized_parts(w, request), request.scale));
    case Start::kOlora:
      return with_settled_signs(from_triangle(w, request.rank));
    case Start::kKaiming:
    case Start::kGaussian:
    case Start::kEva:
      break;
  }
  fail(Fault::kBug, "a start that takes nothing from the weight has no factors of it");
}

}  // namespace dormer::adapter
