#pragma once

#include <cstdint>
#include <functional>

#include "dormer/tensor/forward.hpp"

/// Norms of the rows of W + Δ and what a decomposition makes of them; fp32 [rows] on the weight's device. Not recorded.
namespace dormer::tensor {

/// norm = |w + δ| from |w|², w·δ and |δ|²; cancels (uint8) is 1 for rows that have lost too many bits to that.
void norms_from_terms(const at::Tensor& base, const at::Tensor& cross, const at::Tensor& square, const at::Tensor& norm,
                      const at::Tensor& cancels);

/// Δ = scale Bᵀ A.
struct LowRankFactors {
  const at::Tensor& a;  ///< fp32 unless a function says otherwise: [rank, width]
  const at::Tensor& b;  ///< likewise: [rank, rows]
  double scale = 1.0;
};

/// Gives the sums of squares of W alone, fp32, as the function that takes it counts them.
using FrozenSquares = std::function<at::Tensor()>;

/// The sums of squares of every row of W + Δ: fp64. On a CPU; quick for small ranks. The factors have the weight's
/// dtype; bfloat16 ones hold the scale, which is 1. In fp32 from elements that exist in registers alone, in bfloat16
/// from the frozen sums and products of the factors, or from elements again where those cancel.
[[nodiscard]] at::Tensor row_squares(const at::Tensor& weight, const LowRankFactors& change, const FrozenSquares& base);
/// The same of every column, or of so many neighbours together.
[[nodiscard]] at::Tensor column_squares(const at::Tensor& weight, const LowRankFactors& change,
                                        const FrozenSquares& base, std::int64_t taps = 1);

/// The sums of squares of W's columns alone, or of so many neighbours together: fp64. On a CPU.
[[nodiscard]] at::Tensor frozen_column_squares(const at::Tensor& weight, std::int64_t taps);

/// norm of the rows with `cancels` alone, from the elements of W and Δ.
void cancelling_norms(const at::Tensor& weight, const LowRankFactors& change, const at::Tensor& cancels,
                      const at::Tensor& norm);

/// Where `magnitude_factors` writes.
struct MagnitudeFactors {
  const at::Tensor& factor;  ///< magnitude / norm; 1 where the row is zero
  const at::Tensor& inverse_magnitude;
  const at::Tensor& inverse_norm;  ///< like the other inverse, 0 where the row is zero
};
void magnitude_factors(const at::Tensor& magnitude, const at::Tensor& norm, const MagnitudeFactors& results);

}  // namespace dormer::tensor
