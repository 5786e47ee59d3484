#include "dormer/kernels/low_rank_norms.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "lanes.hpp"

namespace dormer::kernels {
namespace {

/// Vectors by their width: GCC takes no width that depends on a template's parameter everywhere.
template <int kWidth>
struct Vectors;
template <>
struct Vectors<4> {
  typedef float Floats __attribute__((vector_size(16)));
  typedef std::uint16_t Halves __attribute__((vector_size(8)));
  typedef std::uint32_t Words __attribute__((vector_size(16)));
};
template <>
struct Vectors<8> {
  typedef float Floats __attribute__((vector_size(32)));
  typedef std::uint16_t Halves __attribute__((vector_size(16)));
  typedef std::uint32_t Words __attribute__((vector_size(32)));
};
template <>
struct Vectors<16> {
  typedef float Floats __attribute__((vector_size(64)));
  typedef std::uint16_t Halves __attribute__((vector_size(32)));
  typedef std::uint32_t Words __attribute__((vector_size(64)));
};

/// The 16 lanes of a tile's row, in registers of `kWidth` floats: a compiler keeps wider vectors than the processor has
/// in memory, ten times as slow.
template <int kWidth>
struct Registers {
  using Part = typename Vectors<kWidth>::Floats;
  static constexpr int kParts = kLanes / kWidth;
  static constexpr int kTogether = kParts < 2 ? kParts : 2;  // of four rows: eight sums in sixteen registers

  static DORMER_INLINE void take(Part& part, const float* values) { __builtin_memcpy(&part, values, sizeof(part)); }
  static DORMER_INLINE void take(Part& part, const BFloat16* values) {
    static_assert(sizeof(BFloat16) == sizeof(std::uint16_t));
    typename Vectors<kWidth>::Halves halves;
    __builtin_memcpy(&halves, values, sizeof(halves));
    const auto wide = __builtin_convertvector(halves, typename Vectors<kWidth>::Words) << 16;
    __builtin_memcpy(&part, &wide, sizeof(part));
  }
};

constexpr std::int64_t kRows = 4;        // of a tile
constexpr std::int64_t kRunRows = 64;    // of a column in fp32
constexpr std::int64_t kFactor = 8'192;  // elements of A that stay in the nearest cache

/// A block of columns of A by tiles [rank, 16], the last one filled up with zeros.
class FactorTiles {
 public:
  FactorTiles(std::int64_t rank, std::int64_t width)
      : rank_(rank),
        block_(std::max(kLanes, kFactor / std::max<std::int64_t>(rank, 1) / kLanes * kLanes)),
        values_(static_cast<std::size_t>(rank * std::min(block_, (width + kLanes - 1) / kLanes * kLanes))) {}

  [[nodiscard]] std::int64_t block() const { return block_; }
  [[nodiscard]] const float* tile(std::int64_t index) const { return values_.data() + index * rank_ * kLanes; }

  void fill(const float* a, std::int64_t width, std::int64_t first, std::int64_t count) {
    float* to = values_.data();
    for (std::int64_t column = 0; column < count; column += kLanes) {
      const std::int64_t whole = std::min(kLanes, count - column);
      for (std::int64_t r = 0; r < rank_; ++r, to += kLanes) {
        std::fill_n(std::copy_n(a + r * width + first + column, whole, to), kLanes - whole, 0.0F);
      }
    }
  }

 private:
  std::int64_t rank_;
  std::int64_t block_;
  std::vector<float> values_;
};

/// s B of four rows, rank by rank; rows beyond the last one are zeros.
template <typename Element>
DORMER_INLINE void take_rows(const LowRankNormsArguments<Element>& g, std::int64_t row, std::int64_t count,
                             float* factors) {
  for (std::int64_t r = 0; r < g.rank; ++r) {
    for (std::int64_t k = 0; k < kRows; ++k) {
      factors[r * kRows + k] = k < count ? g.scale * g.b[r * g.rows + row + k] : 0.0F;
    }
  }
}

/// The squares of W + Δ on four rows of 16 columns.
template <int kWidth>
struct TileSquares {
  typename Registers<kWidth>::Part of[kRows][Registers<kWidth>::kParts];
};

/// `weight[k]` are the rows' elements. The loops over rows and parts are unrolled: only so do the sums stay in
/// registers.
template <int kWidth, typename Element>
DORMER_INLINE void square_tile(const Element* const (&weight)[kRows], const float* a, const float* b, std::int64_t rank,
                               TileSquares<kWidth>& squares) {
  using Level = Registers<kWidth>;
  for (int part = 0; part < Level::kParts; part += Level::kTogether) {
    typename Level::Part sums[kRows][Level::kTogether] = {};
    for (std::int64_t r = 0; r < rank; ++r) {
      typename Level::Part columns[Level::kTogether];
      DORMER_UNROLLED for (int t = 0; t < Level::kTogether; ++t) {
        Level::take(columns[t], a + r * kLanes + (part + t) * kWidth);
      }
      DORMER_UNROLLED for (int k = 0; k < kRows; ++k) {
        const float factor = b[r * kRows + k];
        DORMER_UNROLLED for (int t = 0; t < Level::kTogether; ++t) {
          sums[k][t] += columns[t] * factor;
        }
      }
    }
    DORMER_UNROLLED for (int k = 0; k < kRows; ++k) {
      DORMER_UNROLLED for (int t = 0; t < Level::kTogether; ++t) {
        typename Level::Part value;
        Level::take(value, weight[k] + (part + t) * kWidth);
        value += sums[k][t];
        squares.of[k][part + t] = value * value;
      }
    }
  }
}

/// Where four rows' elements from `column` on lie: in W, or in a copy that zeros fill up. Rows beyond the last one are
/// the last one again.
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
  std::int64_t ahead_;  // to the same columns of the next four rows
  const Element* rows_[kRows];
  Element copies_[kRows][kLanes];
};

template <int kWidth, typename Element>
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
      TileSquares<kWidth> sums = {};
      for (std::int64_t i = 0; i < columns; i += kLanes) {
        const Element* elements[kRows];
        weight.at(first + i, std::min(kLanes, columns - i), elements);
        TileSquares<kWidth> squares;
        square_tile(elements, tiles.tile(i / kLanes), factors.data(), g.rank, squares);
        for (int k = 0; k < kRows; ++k) {
          for (int part = 0; part < Registers<kWidth>::kParts; ++part) {
            sums.of[k][part] += squares.of[k][part];
          }
        }
      }
      for (std::int64_t k = 0; k < weight.count(); ++k) {
        float lanes[kLanes];
        __builtin_memcpy(lanes, &sums.of[k], sizeof(lanes));
        g.squares[row + k] += static_cast<double>(fold_sum(lanes));
      }
    }
  }
}

template <int kWidth, typename Element>
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
          TileSquares<kWidth> squares;
          square_tile(elements, tiles.tile(i / kLanes), factors.data(), g.rank, squares);
          for (std::int64_t k = weight.count(); k < kRows; ++k) {
            std::fill_n(squares.of[k], Registers<kWidth>::kParts, typename Registers<kWidth>::Part{});
          }
          for (int part = 0; part < Registers<kWidth>::kParts; ++part) {
            typename Registers<kWidth>::Part sum;
            float* const to = run.data() + i + part * kWidth;
            Registers<kWidth>::take(sum, to);
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

template <typename Element>
DORMER_AVX512 void row_squares_avx512(const LowRankNormsArguments<Element>& g, Range rows) {
  row_squares<16>(g, rows);
}
template <typename Element>
DORMER_AVX2 void row_squares_avx2(const LowRankNormsArguments<Element>& g, Range rows) {
  row_squares<8>(g, rows);
}
template <typename Element>
DORMER_AVX512 void column_squares_avx512(const LowRankNormsArguments<Element>& g, Range columns) {
  column_squares<16>(g, columns);
}
template <typename Element>
DORMER_AVX2 void column_squares_avx2(const LowRankNormsArguments<Element>& g, Range columns) {
  column_squares<8>(g, columns);
}

}  // namespace

template <typename Element>
void sum_row_squares(const LowRankNormsArguments<Element>& arguments, Range rows, VectorLevel level) {
  switch (level) {
    case VectorLevel::kAvx512:
      return row_squares_avx512(arguments, rows);
    case VectorLevel::kAvx2:
      return row_squares_avx2(arguments, rows);
    case VectorLevel::kBase:
      return row_squares<4>(arguments, rows);
  }
}

template <typename Element>
void sum_column_squares(const LowRankNormsArguments<Element>& arguments, Range columns, VectorLevel level) {
  switch (level) {
    case VectorLevel::kAvx512:
      return column_squares_avx512(arguments, columns);
    case VectorLevel::kAvx2:
      return column_squares_avx2(arguments, columns);
    case VectorLevel::kBase:
      return column_squares<4>(arguments, columns);
  }
}

template void sum_row_squares(const LowRankNormsArguments<float>&, Range, VectorLevel);
template void sum_row_squares(const LowRankNormsArguments<BFloat16>&, Range, VectorLevel);
template void sum_column_squares(const LowRankNormsArguments<float>&, Range, VectorLevel);
template void sum_column_squares(const LowRankNormsArguments<BFloat16>&, Range, VectorLevel);

}  // namespace dormer::kernels
