#include "dormer/kernels/low_rank_norms.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "lanes.hpp"

namespace dormer::kernels {
namespace {

/// Kept in registers by name: a plain array of floats the compiler would spill between the ranks.
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float))));
typedef std::uint16_t HalfLanes __attribute__((vector_size(kLanes * sizeof(std::uint16_t))));
typedef std::uint32_t WideLanes __attribute__((vector_size(kLanes * sizeof(std::uint32_t))));

constexpr std::int64_t kRows = 4;        // a tile is four rows of one vector: as many sums as AVX2 has registers for
constexpr std::int64_t kRunRows = 64;    // of a column in fp32
constexpr std::int64_t kFactor = 8'192;  // elements of A that stay in the nearest cache

DORMER_INLINE void take(Lanes& lanes, const float* values) {
  __builtin_memcpy(&lanes, values, sizeof(lanes));
}
DORMER_INLINE void take(Lanes& lanes, const BFloat16* values) {
  static_assert(sizeof(BFloat16) == sizeof(std::uint16_t));
  HalfLanes halves;
  __builtin_memcpy(&halves, values, sizeof(halves));
  const WideLanes wide = __builtin_convertvector(halves, WideLanes) << 16;
  __builtin_memcpy(&lanes, &wide, sizeof(lanes));
}

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

/// The squares of W + Δ on four rows of 16 columns. `weight[k]` are the rows' elements.
template <typename Element>
DORMER_INLINE void square_tile(const Element* const (&weight)[kRows], const float* a, const float* b, std::int64_t rank,
                               Lanes (&squares)[kRows]) {
  Lanes sum0 = {};
  Lanes sum1 = {};
  Lanes sum2 = {};
  Lanes sum3 = {};
  for (std::int64_t r = 0; r < rank; ++r) {
    Lanes column;
    take(column, a + r * kLanes);
    const float* factors = b + r * kRows;
    sum0 += column * factors[0];
    sum1 += column * factors[1];
    sum2 += column * factors[2];
    sum3 += column * factors[3];
  }
  Lanes frozen;
  take(frozen, weight[0]);
  sum0 += frozen;
  take(frozen, weight[1]);
  sum1 += frozen;
  take(frozen, weight[2]);
  sum2 += frozen;
  take(frozen, weight[3]);
  sum3 += frozen;
  squares[0] = sum0 * sum0;
  squares[1] = sum1 * sum1;
  squares[2] = sum2 * sum2;
  squares[3] = sum3 * sum3;
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

template <typename Element>
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
      Lanes sums[kRows] = {};
      for (std::int64_t i = 0; i < columns; i += kLanes) {
        const Element* elements[kRows];
        weight.at(first + i, std::min(kLanes, columns - i), elements);
        Lanes squares[kRows];
        square_tile(elements, tiles.tile(i / kLanes), factors.data(), g.rank, squares);
        for (std::int64_t k = 0; k < kRows; ++k) {
          sums[k] += squares[k];
        }
      }
      for (std::int64_t k = 0; k < weight.count(); ++k) {
        float lanes[kLanes];
        __builtin_memcpy(lanes, &sums[k], sizeof(lanes));
        g.squares[row + k] += static_cast<double>(fold_sum(lanes));
      }
    }
  }
}

template <typename Element>
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
          Lanes squares[kRows];
          square_tile(elements, tiles.tile(i / kLanes), factors.data(), g.rank, squares);
          for (std::int64_t k = weight.count(); k < kRows; ++k) {
            squares[k] = Lanes{};
          }
          Lanes sum;
          take(sum, run.data() + i);
          sum += (squares[0] + squares[1]) + (squares[2] + squares[3]);
          __builtin_memcpy(run.data() + i, &sum, sizeof(sum));
        }
      }
      for (std::int64_t i = 0; i < columns; ++i) {
        g.squares[first + i] += static_cast<double>(run[static_cast<std::size_t>(i)]);
      }
    }
  }
}

}  // namespace

DORMER_CLONES void sum_row_squares(const LowRankNormsArguments<float>& arguments, Range rows) {
  row_squares(arguments, rows);
}
DORMER_CLONES void sum_row_squares(const LowRankNormsArguments<BFloat16>& arguments, Range rows) {
  row_squares(arguments, rows);
}
DORMER_CLONES void sum_column_squares(const LowRankNormsArguments<float>& arguments, Range columns) {
  column_squares(arguments, columns);
}
DORMER_CLONES void sum_column_squares(const LowRankNormsArguments<BFloat16>& arguments, Range columns) {
  column_squares(arguments, columns);
}

}  // namespace dormer::kernels
