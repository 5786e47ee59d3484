#pragma once

#include <cstdint>

#include "dormer/kernels/adamw.hpp"
#include "dormer/kernels/rows.hpp"

/// Host loops over fp32 arrays that optimizers, reductions and norms of weights need; as rows.hpp.
namespace dormer::kernels {

/// One update of every element of a range; see AdamWStep.
struct AdamWArguments {
  float* parameters;
  float* first_moments;
  float* second_moments;
  const float* gradients;
  AdamWStep step;
};
void compute_range(const AdamWArguments& arguments, Range elements);

/// sum[i] += other[i]: one rounding per element.
struct AddArguments {
  float* sum;
  const float* other;
};
void compute_range(const AddArguments& arguments, Range elements);

/// values[i] = value.
struct FillArguments {
  float* values;
  float value;
};
void compute_range(const FillArguments& arguments, Range elements);

/// sums[b] = the sum of squares of block b's values in fp64, in one order everywhere: eight running sums, element i in
/// sum i mod 8, added pairwise. A value that is not finite makes its block's sum so.
struct SquaredBlocksArguments {
  static constexpr std::int64_t kLanes = 8;
  const float* values;
  double* sums;
  std::int64_t size;   // of all values; the last block may be short
  std::int64_t block;  // values of a block
};
void compute_range(const SquaredBlocksArguments& arguments, Range blocks);

/// norm[o] = |w + δ| of row o from |w|², w·δ and |δ|², and whether so much cancelled that the row must be computed
/// from its elements: below 1/16 of |w|² + |δ|² (27 ulp off there).
struct NormsFromTermsArguments {
  static constexpr float kCancellation = 1.0F / 16.0F;
  const float* base;    // |w|²
  const float* cross;   // w·δ
  const float* square;  // |δ|²
  float* norm;
  std::uint8_t* cancels;
};
void compute_range(const NormsFromTermsArguments& arguments, Range rows);

/// norm[o] of the rows with cancels[o] alone, from their elements: |w + s Σ_r b[r,o] a[r,:]|, the change in fp32, the
/// sum in fp64.
template <typename Element>
struct CancellingNormsArguments {
  const Element* weight;  // [rows, width]
  const float* a;         // [rank, width]
  const float* b;         // [rank, rows]
  const std::uint8_t* cancels;
  float* norm;
  std::int64_t rows;
  std::int64_t width;
  std::int64_t rank;
  float scale;
};
void compute_range(const CancellingNormsArguments<float>& arguments, Range rows);
void compute_range(const CancellingNormsArguments<BFloat16>& arguments, Range rows);

/// factor = magnitude / norm and the inverses of both; a row of zeros keeps factor 1 and has inverses 0.
struct MagnitudeFactorsArguments {
  const float* magnitude;
  const float* norm;
  float* factor;
  float* inverse_magnitude;
  float* inverse_norm;
};
void compute_range(const MagnitudeFactorsArguments& arguments, Range rows);

}  // namespace dormer::kernels
