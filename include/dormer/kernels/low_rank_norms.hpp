#pragma once

#include <cstdint>

#include "dormer/kernels/element.hpp"
#include "dormer/kernels/rows.hpp"
#include "dormer/kernels/vector_level.hpp"

/// Sums of squares of W + Δ with a low-rank Δ = s Σ_r b[r,:]ᵀ a[r,:], which is formed 4 x 16 elements at a time in
/// registers and nowhere else. Host loops only: where products are cheap beside memory (on a GPU, at a high rank), the
/// sums follow from products of the factors. Elements and their squares in fp32, over short runs; runs are added in
/// fp64. The bits depend on neither the range, the level nor the machine.
namespace dormer::kernels {

template <typename Element>
struct LowRankNormsArguments {
  const Element* weight;  // [rows, width]
  const float* a;         // [rank, width]
  const float* b;         // [rank, rows]
  double* squares;        // one for every row, or one for every column
  std::int64_t rows;
  std::int64_t width;
  std::int64_t rank;
  float scale;
};

/// squares[o] = |w[o,:] + δ[o,:]|² for a range of rows. Elements are float or BFloat16.
template <typename Element>
void sum_row_squares(const LowRankNormsArguments<Element>& arguments, Range rows,
                     VectorLevel level = best_vector_level());

/// squares[i] = |w[:,i] + δ[:,i]|² for a range of columns; ranges that start at multiples of 16 are the quick ones.
template <typename Element>
void sum_column_squares(const LowRankNormsArguments<Element>& arguments, Range columns,
                        VectorLevel level = best_vector_level());

}  // namespace dormer::kernels
