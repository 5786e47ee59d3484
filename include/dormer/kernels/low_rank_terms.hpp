#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "dormer/kernels/element.hpp"
#include "dormer/kernels/rows.hpp"
#include "dormer/kernels/vector_level.hpp"

/// What a low-rank Δ = Σ_r b[r,:]ᵀ a[r,:] adds to the squared norms of the rows, or columns, of W: 2 w·δ + |δ|², from
/// products of the factors. Host loops for W and factors of bfloat16, whose products are whole in an fp32: a sum of
/// them has the same bits whether the processor multiplies in pairs (vdpbf16ps) or one by one, as long as sums stay
/// above 2^-126. Sums in fp32 over runs of some hundred products, these in fp32, what follows in fp64. The bits depend
/// on neither the range, the level nor the machine.
namespace dormer::kernels {

/// A factor [rank, length], laid out for the loops below and shared by their threads, with the products of its ranks
/// with each other. Reads the factor once.
class FactorPanel {
 public:
  FactorPanel(const BFloat16* factor, std::int64_t rank, std::int64_t length, VectorLevel level = best_vector_level());

  [[nodiscard]] VectorLevel level() const { return level_; }
  [[nodiscard]] std::int64_t rank() const { return rank_; }
  /// Ranks with those of zeros that fill the last lanes up.
  [[nodiscard]] std::int64_t lanes() const { return lanes_; }
  /// [pairs of elements, lanes] of both elements, the first one in the lower half; at levels without such products
  /// [elements, lanes] in fp32.
  [[nodiscard]] const std::uint32_t* entries() const { return entries_.get(); }
  /// factor[r,:]·factor[q,:]: [rank, rank].
  [[nodiscard]] const double* products() const { return products_.data(); }

 private:
  VectorLevel level_;
  std::int64_t rank_;
  std::int64_t lanes_;
  std::unique_ptr<std::uint32_t[]> entries_;
  std::vector<double> products_;
};

struct LowRankTermsArguments {
  const BFloat16* weight;  // [rows, width]
  const BFloat16* a;       // [rank, width]
  const BFloat16* b;       // [rank, rows]
  double* change;          // 2 w·δ + |δ|², for every row, or every column
  double* size;            // |δ|² if the ranks were orthogonal: what is far below it has cancelled
  std::int64_t rows;
  std::int64_t width;
  std::int64_t rank;
};

/// For a range of rows; `a` is the panel of arguments.a.
void low_rank_row_terms(const LowRankTermsArguments& arguments, const FactorPanel& a, Range rows);
/// For a range of columns; `b` is the panel of arguments.b. Ranges that start at multiples of 32 are the quick ones.
void low_rank_column_terms(const LowRankTermsArguments& arguments, const FactorPanel& b, Range columns);

}  // namespace dormer::kernels
