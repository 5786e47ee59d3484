#include "decomposition.hpp"

#include <cmath>
#include <vector>

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linalg_vector_norm.h>

#include "dormer/core/error.hpp"

namespace dormer::adapter {
namespace {

/// Below this share of |w|^2 + |δ|^2 the factored sum has lost too many bits to cancellation (27 ulp off at 1/16).
constexpr float kCancellation = 1.0F / 16.0F;
/// A saved scaled output is divided by the magnitude only where the factor is at least this: no overflow, no lost bits.
constexpr float kSafeFactor = 1e-6F;

}  // namespace

Decomposition::Decomposition(const FrozenLinear& layer, tensor::FlatSpace& space)
    : space_(space),
      weight_(layer.weight),
      magnitude_(space.add(layer.site.name + ".magnitude", {layer.site.out}, {layer.site.out},
                           tensor::ParameterRole::kMagnitude)) {}

void Decomposition::refresh(const Change& change) {
  const NormTerms terms = change.norm_terms(weight_);
  const std::int64_t rows = weight_.rows();
  const at::Tensor cross = terms.cross_and_square.at(0).contiguous();
  const at::Tensor square = terms.cross_and_square.at(1).contiguous();
  const float* base = weight_.squared_row_norms().const_data_ptr<float>();
  norm_ = at::empty({rows}, at::kFloat);
  float* norm = norm_.mutable_data_ptr<float>();
  std::vector<std::int64_t> cancelling;
  for (std::int64_t row = 0; row < rows; ++row) {
    const float whole = base[row] + square.const_data_ptr<float>()[row];
    const float sum = whole + 2.0F * cross.const_data_ptr<float>()[row];
    norm[row] = std::sqrt(std::max(sum, 0.0F));
    if (!(sum >= kCancellation * whole) && whole > 0.0F) {
      cancelling.push_back(row);
    }
  }
  if (!cancelling.empty()) {
    const at::Tensor index = at::empty({static_cast<std::int64_t>(cancelling.size())}, at::kLong);
    std::copy(cancelling.begin(), cancelling.end(), index.mutable_data_ptr<std::int64_t>());
    const at::Tensor dense = weight_.values().index_select(0, index).to(at::kDouble).add_(change.dense_rows(index));
    const at::Tensor exact = at::linalg_vector_norm(dense, 2, at::IntArrayRef{1}).to(at::kFloat);
    for (std::size_t i = 0; i < cancelling.size(); ++i) {
      norm[cancelling[i]] = exact.const_data_ptr<float>()[i];
    }
  }
  factor_ = at::empty_like(norm_);
  inverse_magnitude_ = at::empty_like(norm_);
  inverse_norm_ = at::empty_like(norm_);
  const float* magnitude = space_.value(magnitude_).const_data_ptr<float>();
  factor_invertible_ = true;
  for (std::int64_t row = 0; row < rows; ++row) {
    const bool zero_row = !(norm[row] > 0.0F);
    const float factor = zero_row ? 1.0F : magnitude[row] / norm[row];
    factor_.mutable_data_ptr<float>()[row] = factor;
    inverse_norm_.mutable_data_ptr<float>()[row] = zero_row ? 0.0F : 1.0F / norm[row];
    inverse_magnitude_.mutable_data_ptr<float>()[row] = zero_row ? 0.0F : 1.0F / magnitude[row];
    factor_invertible_ = factor_invertible_ && (zero_row || std::abs(factor) >= kSafeFactor);
  }
}

void Decomposition::reset_magnitude() {
  space_.value(magnitude_).copy_(norm_);
}

}  // namespace dormer::adapter
