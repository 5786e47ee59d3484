#include "dormer/kernels/low_rank_norms.hpp"

#include <algorithm>
#include <vector>

#include "lanes.hpp"
#include "vectors.hpp"

namespace dormer::kernels {
namespace {

/// The 16 lanes of a tile's row, in registers of `kFloats` floats.
template <int kFloats>
struct Registers {
  using Part = typename Vectors<kFloats>::Floats;
  static constexpr int kWidth = kFloats;
  static constexpr int kParts = kLanes / kWidth;
  static constexpr int kTogether = kParts < 2 ? kParts : 2;  // of four rows: eight sums in sixteen registers
};

constexpr std::int64_t kRows = 4;        // of a tile
constexpr std::int64_t kRunRows = 64;    // of a column in fp32
constexpr std::int64_t kFactor = 8'192;  // elements of A that stay in the nearest cache

/// A block of columns of A by tiles [rank, 16], the last one filled up with zeros. Which columns a block has follows
/// from the rank alone: the order of the sums does.
class FactorTiles {
 public:
  FactorTiles(std::int64_t rank, std::int64_t width)
      : rank_(rank),
        block_(std::max(kLanes, kFactor / std::max<std::int64_t>(rank, 1) / kLanes * kLanes)),
        values_(static_cast<std::size_t>(rank * std::min(block_, (width + kLanes - 1) / kLanes * kLanes))) {}

  [[nodiscard]] std::int64_t block() const { return block_; }
  [[nodiscard]] const float* tile(std::int64_t index) const { return values_.data() + index * rank_ * kLanes; }

  template <typename Element>
  DORMER_INLINE void fill(const Element* a, std::int64_t width, std::int64_t first, std::int64_t count) {
    float* to = values_.data();
    for (std::int64_t column = 0; column < count; column += kLanes) {
      const std::int64_t whole = std::min(kLanes, count - column);
      for (std::int64_t r = 0; r < rank_; ++r) {
        for (std::int64_t lane = 0; lane < kLanes; ++lane, ++to) {
          *to = lane < whole ? load(a + r * width + first + column + lane) : 0.0F;
        }
      }
    }
  }

 private:
  std::int64_t rank_;
  std::int64_t block_;
  std::vector<float> values_;
};

/// s B of a tile's rows, rank by rank; rows beyond the last one are zeros.
template <typename Element>
DORMER_INLINE void take_rows(const LowRankNormsArguments<Element>& g, std::int64_t row, std::int64_t count,
                             float* factors) {
  for (std::int64_t r = 0; r < g.rank; ++r) {
    for (std::int64_t k = 0; k < kRows; ++k, ++factors) {
      *factors = k < count ? g.scale * load(g.b + r * g.rows + row + k) : 0.0F;
    }
  }
}

/// The squares of W + Δ on a tile's rows of 16 columns.
template <typename Level>
struct TileSquares {
  typename Level::Part of[kRows][Level::kParts];
};

/// `weight[k]` are the rows' elements. The loops over rows and parts are unrolled: only so do the sums stay in
/// registers.
template <typename Level, typename Element>
DORMER_INLINE void square_tile(const Element* const (&weight)[kRows], const float* a, const float* b, std::int64_t rank,
                               TileSquares<Level>& squares) {
  for (int part = 0; part < Level::kParts; part += Level::kTogether) {
    typename Level::Part sums[kRows][Level::kTogether] = {};
    for (std::int64_t r = 0; r < rank; ++r) {
      typename Level::Part columns[Level::kTogether];
      DORMER_UNROLLED for (int t = 0; t < Level::kTogether; ++t) {
        take(columns[t], a + r * kLanes + (part + t) * Level::kWidth);
      }
      DORMER_UNROLLED for (int k = 0; k < kRows; ++k) {
        DORMER_UNROLLED for (int t = 0; t < Level::kTogether; ++t) {
          sums[k][t] += columns[t] * b[r * kRows + k];
        }
      }
    }
    DORMER_UNROLLED for (int k = 0; k < kRows; ++k) {
      DORMER_UNROLLED for (int t = 0; t < Level::kTogether; ++t) {
        typename Level::Part value;
        take_elements(value, weight[k] + (part + t) * Level::kWidth);
        value += sums[k][t];
        squares.of[k][part + t] = value * value;
      }
    }
  }
}

/// Where a tile's rows from `column` on lie: in W, or in a copy that zeros fill up. Rows beyond the last one are the
/// last one again.
template <typename Element>
class TileRows {
 public:
  TileRows(const LowRankNormsArguments<Element>& g, std::int64_t row, std::int64_t count)
      : count_(count), ahead_(row + 2 * kRows <= g.rows ? kRows * g.width : 0) {
    for (std::int64_t k = 0; k < kRows; ++k) {
      rows_[k] = g.weight + (row + std::min(k, count - 1)) * g.width;
    }
  }

  DORMER_INLINE void at(std::int64_t column, std::int64_t whole, const Element* (&elements)[kRows]) {
    for (std::int64_t k = 0; k < kRows; ++k) {
      elements[k] = rows_[k] + column;
      __builtin_prefetch(elements[k] + ahead_);  // short pieces of many rows are no stream that a core foresees
    }
    if (whole < kLanes) {
      for (std::int64_t k = 0; k < kRows; ++k) {
        std::fill_n(std::copy_n(elements[k], whole, copies_[k]), kLanes - whole, Element{});
        elements[k] = copies_[k];
      }
    }
  }
  [[nodiscard]] std::int64_t count() const { return count_; }

 private:
  std::int64_t count_;
  std::int64_t ahead_;  // to the same columns of the next tile's rows
  const Element* rows_[kRows];
  Element copies_[kRows][kLanes];
};

template <typename Level, typename Element>
DORMER_INLINE void row_squares(const LowRankNormsArguments<Element>& g, Range rows) {
  FactorTiles tiles(g.rank, g.width);
  std::vector<float> factors(static_cast<std::size_t>(g.rank * kRows));
  std::fill(g.squares + rows.begin, g.squares + rows.end, 0.0);
  for (std::int64_t first = 0; first < g.width; first += tiles.block()) {
    const std::int64_t columns = std::min(tiles.block(), g.width - first);
    tiles.fill(g.a, g.width, first, columns);
    for (std::int64_t row = rows.begin; row < rows.end; row += kRows) {
      TileRows<Element> weight(g, row, std::min(kRows, rows.end - row));
      take_rows(g, row, weight.count(), factors.data());
      TileSquares<Level> sums = {};
      for (std::int64_t i = 0; i < columns; i += kLanes) {
        const Element* elements[kRows];
        weight.at(first + i, std::min(kLanes, columns - i), elements);
        TileSquares<Level> squares;
        square_tile(elements, tiles.tile(i / kLanes), factors.data(), g.rank, squares);
        DORMER_UNROLLED for (int k = 0; k < kRows; ++k) {
          DORMER_UNROLLED for (int part = 0; part < Level::kParts; ++part) {
            sums.of[k][part] += squares.of[k][part];
          }
        }
      }
      DORMER_UNROLLED for (std::int64_t k = 0; k < kRows; ++k) {
        float lanes[kLanes];
        DORMER_UNROLLED for (int part = 0; part < Level::kParts; ++part) {
          const typename Level::Part sum = sums.of[k][part];  // by way of its address alone it would stay in memory
          __builtin_memcpy(lanes + part * Level::kWidth, &sum, sizeof(sum));
        }
        if (k < weight.count()) {
          g.squares[row + k] += static_cast<double>(fold_sum(lanes));
        }
      }
    }
  }
}

template <typename Level, typename Element>
DORMER_INLINE void column_squares(const LowRankNormsArguments<Element>& g, Range range) {
  FactorTiles tiles(g.rank, range.end - range.begin);
  std::vector<float> factors(static_cast<std::size_t>(g.rank * kRows));
  std::fill(g.squares + range.begin, g.squares + range.end, 0.0);
  std::vector<float> run;
  for (std::int64_t first = range.begin; first < range.end; first += tiles.block()) {
    const std::int64_t columns = std::min(tiles.block(), range.end - first);
    tiles.fill(g.a, g.width, first, columns);
    for (std::int64_t begin = 0; begin < g.rows; begin += kRunRows) {
      run.assign(static_cast<std::size_t>((columns + kLanes - 1) / kLanes * kLanes), 0.0F);
      const std::int64_t end = std::min(begin + kRunRows, g.rows);
      for (std::int64_t row = begin; row < end; row += kRows) {
        TileRows<Element> weight(g, row, std::min(kRows, end - row));
        take_rows(g, row, weight.count(), factors.data());
        for (std::int64_t i = 0; i < columns; i += kLanes) {
          const Element* elements[kRows];
          weight.at(first + i, std::min(kLanes, columns - i), elements);
          TileSquares<Level> squares;
          square_tile(elements, tiles.tile(i / kLanes), factors.data(), g.rank, squares);
          for (std::int64_t k = weight.count(); k < kRows; ++k) {
            std::fill_n(squares.of[k], Level::kParts, typename Level::Part{});
          }
          DORMER_UNROLLED for (int part = 0; part < Level::kParts; ++part) {
            typename Level::Part sum;
            float* const to = run.data() + i + part * Level::kWidth;
            take(sum, to);
            sum += (squares.of[0][part] + squares.of[1][part]) + (squares.of[2][part] + squares.of[3][part]);
            __builtin_memcpy(to, &sum, sizeof(sum));
          }
        }
      }
      for (std::int64_t i = 0; i < columns; ++i) {
        g.squares[first + i] += static_cast<double>(run[static_cast<std::size_t>(i)]);
      }
    }
  }
}

/// What is summed, as a type, so that one choice of the level serves both.
struct Rows {
  template <typename Level, typename Element>
  static DORMER_INLINE void sum(const LowRankNormsArguments<Element>& g, Range range) {
    row_squares<Level>(g, range);
  }
};
struct Columns {
  template <typename Level, typename Element>
  static DORMER_INLINE void sum(const LowRankNormsArguments<Element>& g, Range range) {
    column_squares<Level>(g, range);
  }
};

template <typename Sums, typename Element>
DORMER_AVX2 void sum_by_avx2(const LowRankNormsArguments<Element>& g, Range range) {
  Sums::template sum<Registers<8>>(g, range);
}
template <typename Sums, typename Element>
DORMER_AVX512 void sum_by_avx512(const LowRankNormsArguments<Element>& g, Range range) {
  Sums::template sum<Registers<16>>(g, range);
}

template <typename Sums, typename Element>
void sum_at_level(const LowRankNormsArguments<Element>& g, Range range, VectorLevel level) {
  switch (level) {
    case VectorLevel::kAvx512Pairs:
    case VectorLevel::kAvx512:
      return sum_by_avx512<Sums>(g, range);
    case VectorLevel::kAvx2:
      return sum_by_avx2<Sums>(g, range);
    case VectorLevel::kBase:
      return Sums::template sum<Registers<4>>(g, range);
  }
}

}  // namespace

template <typename Element>
void sum_row_squares(const LowRankNormsArguments<Element>& arguments, Range rows, VectorLevel level) {
  sum_at_level<Rows>(arguments, rows, level);
}

template <typename Element>
void sum_column_squares(const LowRankNormsArguments<Element>& arguments, Range columns, VectorLevel level) {
  sum_at_level<Columns>(arguments, columns, level);
}

template void sum_row_squares(const LowRankNormsArguments<float>&, Range, VectorLevel);
template void sum_row_squares(const LowRankNormsArguments<BFloat16>&, Range, VectorLevel);
template void sum_column_squares(const LowRankNormsArguments<float>&, Range, VectorLevel);
template void sum_column_squares(const LowRankNormsArguments<BFloat16>&, Range, VectorLevel);

}  // namespace dormer::kernels
