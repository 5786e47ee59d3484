#pragma once

#include <cstdint>

#include "dormer/kernels/element.hpp"
#include "dormer/kernels/rows.hpp"
#include "dormer/kernels/vector_level.hpp"

/// Sums of squares of W + Δ with a low-rank Δ = s Σ_r b[r,:]ᵀ a[r,:], which is formed a few rows of 16 elements at a
/// time in registers and nowhere else. Host loops only: where products are cheap beside memory (on a GPU, at a high
/// rank, in bfloat16), the sums follow from products of the factors. Elements and their squares in fp32, over short
/// runs; runs are added in fp64. The bits depend on neither the range, the level nor the machine.
namespace dormer::kernels {

/// Factors of BFloat16 are those that a model in bfloat16 multiplies with: Δ is then the very one that it adds.
template <typename Element>
struct LowRankNormsArguments {
  const Element* weight;  // [rows, width]
  const Element* a;       // [rank, width]
  const Element* b;       // [rank, rows]; of BFloat16 they hold s, rounded with it
  double* squares;        // one for every row, or one for every column
  std::int64_t rows;
  std::int64_t width;
  std::int64_t rank;
  float scale;  // s; 1 where the factors are BFloat16
};

/// squares[o] = |w[o,:] + δ[o,:]|² for a range of rows. Elements and factors are float or BFloat16.
template <typename Element>
void sum_row_squares(const LowRankNormsArguments<Element>& arguments, Range rows,
                     VectorLevel level = best_vector_level());

/// squares[i] = |w[:,i] + δ[:,i]|² for a range of columns; ranges that start at multiples of 16 are the quick ones.
template <typename Element>
void sum_column_squares(const LowRankNormsArguments<Element>& arguments, Range columns,
                        VectorLevel level = best_vector_level());

}  // namespace dormer::kernels
