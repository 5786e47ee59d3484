#include "dormer/adapter/input_moments.hpp"

#include <cmath>

#include <ATen/core/Tensor.h>
#include <ATen/ops/flip.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>

#include "dormer/core/error.hpp"
#include "weight_factors.hpp"

namespace dormer::adapter {

InputMoments::InputMoments(std::int64_t width)
    : sums_{at::zeros({width, width}, at::kDouble), at::zeros({width}, at::kDouble)} {}

void InputMoments::add(const at::Tensor& rows) {
  const at::Tensor values = rows.cpu().to(at::kDouble);
  sums_[0].addmm_(values.t(), values);
  sums_[1].add_(at::sum(values, {0}));
  count_ += values.size(0);
}

at::Tensor InputMoments::take_directions(std::int64_t rank) {
  invariant(count_ > rank, "{} rows have no {} directions", count_, rank);
  at::Tensor scatter = sums_[0];
  const at::Tensor sum = sums_[1];
  sums_.clear();
  scatter.addr_(sum, sum, 1.0, -1.0 / static_cast<double>(count_));
  require(std::isfinite(at::sum(scatter).item<double>()), Fault::kNumerical,
          "adapter.start: eva: a layer's input is not finite; look at the model and the data, or write start: kaiming");
  const at::Tensor vectors = std::get<1>(at::linalg_eigh(scatter));  // columns, the smallest variance first
  const at::Tensor directions = at::flip(vectors.narrow(1, vectors.size(1) - rank, rank), {1}).t();
  return at::mul(directions, settling_signs(directions)).to(at::kFloat).contiguous();
}

std::int64_t InputMoments::bytes(std::int64_t width) {
  return (width * width + width) * static_cast<std::int64_t>(sizeof(double));
}

// The eigenvectors, and LAPACK's own 2 n^2.
std::int64_t InputMoments::working_bytes(std::int64_t width) {
  return 3 * width * width * static_cast<std::int64_t>(sizeof(double));
}

}  // namespace dormer::adapter
