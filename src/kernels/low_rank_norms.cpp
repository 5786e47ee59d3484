#include "dormer/kernels/low_rank_norms.hpp"

#include <algorithm>
#include <bit>
#include <type_traits>
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

/// The 16 lanes of a tile's row, in registers of `kFloats` floats: a compiler keeps wider vectors than the processor
/// has in memory, ten times as slow.
template <int kFloats>
struct Registers {
  using Part = typename Vectors<kFloats>::Floats;
  static constexpr int kWidth = kFloats;
  static constexpr int kParts = kLanes / kWidth;
  static constexpr int kTogether = kParts < 2 ? kParts : 2;  // of four rows: eight sums in sixteen registers
  static constexpr std::int64_t kRows = 4;                   // of a tile

  /// Of a factor: one rank, or several.
  using Slot = float;
  using Columns = Part;
  static constexpr std::int64_t kRanks = 1;
  template <typename Read>
  static DORMER_INLINE Slot slot(std::int64_t rank, const Read& read) {
    return read(rank);
  }
  static DORMER_INLINE void multiply_add(Part& sum, const Columns& columns, const Slot* factor) {
    sum += columns * *factor;
  }

  template <typename Value>
  static DORMER_INLINE void take(Value& part, const void* values) {
    __builtin_memcpy(&part, values, sizeof(part));
  }
  static DORMER_INLINE void take_elements(Part& part, const float* values) { take(part, values); }
  static DORMER_INLINE void take_elements(Part& part, const BFloat16* values) {
    static_assert(sizeof(BFloat16) == sizeof(std::uint16_t));
    typename Vectors<kWidth>::Halves halves;
    take(halves, values);
    const auto wide = __builtin_convertvector(halves, typename Vectors<kWidth>::Words) << 16;
    take(part, &wide);
  }
};

/// Factors of bfloat16 in pairs of ranks: the processor's product of a pair adds that of its upper half, rounds, adds
/// that of its lower half, and rounds again. Products of two bfloat16 are whole in an fp32, so that these are the bits
/// of one rank after the other. (Sums below 2^-126 become zero here, which no norm shows.)
struct PairRegisters : Registers<16> {
  static constexpr std::int64_t kRows = 8;  // its products take twice as long to be there as sums do

  using Slot = std::uint32_t;
  using Columns = Vectors<16>::Words;
  static constexpr std::int64_t kRanks = 2;
  template <typename Read>
  static DORMER_INLINE Slot slot(std::int64_t rank, const Read& read) {
    return std::bit_cast<std::uint32_t>(read(rank)) | std::bit_cast<std::uint32_t>(read(rank + 1)) >> 16;
  }
  static DORMER_INLINE void multiply_add(Part& sum, const Columns& columns, const Slot* factor) {
#ifdef DORMER_PAIRS
    // Not the compiler's function for it, which may stand only in functions for this one level. By way of another
    // variable, since an operand's own would stay in memory; the factor is one number for all lanes.
    Part next = sum;
    asm("vdpbf16ps %2%{1to16%}, %1, %0" : "+v"(next) : "v"(columns), "m"(*factor));
    sum = next;
#else
    constexpr std::uint32_t kUpper = 0xFFFF'0000U;
    const Columns upper = columns & kUpper;
    const Columns lower = columns << 16;
    Part value;
    take(value, &upper);
    sum += value * std::bit_cast<float>(*factor & kUpper);
    take(value, &lower);
    sum += value * std::bit_cast<float>(*factor << 16);
#endif
  }
};

/// Whether a pair is one product of the processor for these factors.
#ifdef DORMER_PAIRS
template <typename Element>
constexpr bool kByPairs = std::is_same_v<Element, BFloat16>;
#else
template <typename Element>
constexpr bool kByPairs = false;
#endif

constexpr std::int64_t kRowGroup = 4;    // whose squares a column adds at a time
constexpr std::int64_t kRunRows = 64;    // of a column in fp32
constexpr std::int64_t kFactor = 8'192;  // elements of A that stay in the nearest cache

/// How many slots hold so many ranks.
template <typename Level>
constexpr std::int64_t slots_of(std::int64_t rank) {
  return (rank + Level::kRanks - 1) / Level::kRanks;
}

/// A block of columns of A by tiles [slots, 16], the last one filled up with zeros. Which columns a block has follows
/// from the rank alone: the order of the sums does.
template <typename Level>
class FactorTiles {
 public:
  FactorTiles(std::int64_t rank, std::int64_t width)
      : rank_(rank),
        block_(std::max(kLanes, kFactor / std::max<std::int64_t>(rank, 1) / kLanes * kLanes)),
        values_(static_cast<std::size_t>(slots_of<Level>(rank) *
                                         std::min(block_, (width + kLanes - 1) / kLanes * kLanes))) {}

  [[nodiscard]] std::int64_t block() const { return block_; }
  [[nodiscard]] const typename Level::Slot* tile(std::int64_t index) const {
    return values_.data() + index * slots_of<Level>(rank_) * kLanes;
  }

  template <typename Element>
  DORMER_INLINE void fill(const Element* a, std::int64_t width, std::int64_t first, std::int64_t count) {
    typename Level::Slot* to = values_.data();
    for (std::int64_t column = 0; column < count; column += kLanes) {
      const std::int64_t whole = std::min(kLanes, count - column);
      for (std::int64_t r = 0; r < rank_; r += Level::kRanks) {
        for (std::int64_t lane = 0; lane < kLanes; ++lane, ++to) {
          *to = Level::slot(r, [&](std::int64_t one) {
            return lane < whole && one < rank_ ? load(a + one * width + first + column + lane) : 0.0F;
          });
        }
      }
    }
  }

 private:
  std::int64_t rank_;
  std::int64_t block_;
  std::vector<typename Level::Slot> values_;
};

/// s B of a tile's rows, slot by slot; rows beyond the last one are zeros.
template <typename Level, typename Element>
DORMER_INLINE void take_rows(const LowRankNormsArguments<Element>& g, std::int64_t row, std::int64_t count,
                             typename Level::Slot* factors) {
  for (std::int64_t r = 0; r < g.rank; r += Level::kRanks) {
    for (std::int64_t k = 0; k < Level::kRows; ++k, ++factors) {
      *factors = Level::slot(r, [&](std::int64_t one) {
        return k < count && one < g.rank ? g.scale * load(g.b + one * g.rows + row + k) : 0.0F;
      });
    }
  }
}

/// The squares of W + Δ on a tile's rows of 16 columns.
template <typename Level>
struct TileSquares {
  typename Level::Part of[Level::kRows][Level::kParts];
};

/// `weight[k]` are the rows' elements. The loops over rows and parts are unrolled: only so do the sums stay in
/// registers.
template <typename Level, typename Element>
DORMER_INLINE void square_tile(const Element* const (&weight)[Level::kRows], const typename Level::Slot* a,
                               const typename Level::Slot* b, std::int64_t slots, TileSquares<Level>& squares) {
  for (int part = 0; part < Level::kParts; part += Level::kTogether) {
    typename Level::Part sums[Level::kRows][Level::kTogether] = {};
    for (std::int64_t r = 0; r < slots; ++r) {
      typename Level::Columns columns[Level::kTogether];
      DORMER_UNROLLED for (int t = 0; t < Level::kTogether; ++t) {
        Level::take(columns[t], a + r * kLanes + (part + t) * Level::kWidth);
      }
      DORMER_UNROLLED for (int k = 0; k < Level::kRows; ++k) {
        DORMER_UNROLLED for (int t = 0; t < Level::kTogether; ++t) {
          Level::multiply_add(sums[k][t], columns[t], b + r * Level::kRows + k);
        }
      }
    }
    DORMER_UNROLLED for (int k = 0; k < Level::kRows; ++k) {
      DORMER_UNROLLED for (int t = 0; t < Level::kTogether; ++t) {
        typename Level::Part value;
        Level::take_elements(value, weight[k] + (part + t) * Level::kWidth);
        value += sums[k][t];
        squares.of[k][part + t] = value * value;
      }
    }
  }
}

/// Where a tile's rows from `column` on lie: in W, or in a copy that zeros fill up. Rows beyond the last one are the
/// last one again.
template <typename Element, std::int64_t kRows>
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
  constexpr std::int64_t kRows = Level::kRows;
  const std::int64_t slots = slots_of<Level>(g.rank);
  FactorTiles<Level> tiles(g.rank, g.width);
  std::vector<typename Level::Slot> factors(static_cast<std::size_t>(slots * kRows));
  std::fill(g.squares + rows.begin, g.squares + rows.end, 0.0);
  for (std::int64_t first = 0; first < g.width; first += tiles.block()) {
    const std::int64_t columns = std::min(tiles.block(), g.width - first);
    tiles.fill(g.a, g.width, first, columns);
    for (std::int64_t row = rows.begin; row < rows.end; row += kRows) {
      TileRows<Element, kRows> weight(g, row, std::min(kRows, rows.end - row));
      take_rows<Level>(g, row, weight.count(), factors.data());
      TileSquares<Level> sums = {};
      for (std::int64_t i = 0; i < columns; i += kLanes) {
        const Element* elements[kRows];
        weight.at(first + i, std::min(kLanes, columns - i), elements);
        TileSquares<Level> squares;
        square_tile(elements, tiles.tile(i / kLanes), factors.data(), slots, squares);
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
  constexpr std::int64_t kRows = Level::kRows;
  const std::int64_t slots = slots_of<Level>(g.rank);
  FactorTiles<Level> tiles(g.rank, range.end - range.begin);
  std::vector<typename Level::Slot> factors(static_cast<std::size_t>(slots * kRows));
  std::fill(g.squares + range.begin, g.squares + range.end, 0.0);
  std::vector<float> run;
  for (std::int64_t first = range.begin; first < range.end; first += tiles.block()) {
    const std::int64_t columns = std::min(tiles.block(), range.end - first);
    tiles.fill(g.a, g.width, first, columns);
    for (std::int64_t begin = 0; begin < g.rows; begin += kRunRows) {
      run.assign(static_cast<std::size_t>((columns + kLanes - 1) / kLanes * kLanes), 0.0F);
      const std::int64_t end = std::min(begin + kRunRows, g.rows);
      for (std::int64_t row = begin; row < end; row += kRows) {
        TileRows<Element, kRows> weight(g, row, std::min(kRows, end - row));
        take_rows<Level>(g, row, weight.count(), factors.data());
        for (std::int64_t i = 0; i < columns; i += kLanes) {
          const Element* elements[kRows];
          weight.at(first + i, std::min(kLanes, columns - i), elements);
          TileSquares<Level> squares;
          square_tile(elements, tiles.tile(i / kLanes), factors.data(), slots, squares);
          for (std::int64_t k = weight.count(); k < kRows; ++k) {
            std::fill_n(squares.of[k], Level::kParts, typename Level::Part{});
          }
          DORMER_UNROLLED for (int part = 0; part < Level::kParts; ++part) {
            typename Level::Part sum;
            float* const to = run.data() + i + part * Level::kWidth;
            Level::take(sum, to);
            for (std::int64_t k = 0; k < kRows; k += kRowGroup) {
              sum +=
                  (squares.of[k][part] + squares.of[k + 1][part]) + (squares.of[k + 2][part] + squares.of[k + 3][part]);
            }
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
DORMER_AVX512 void sum_by_pairs(const LowRankNormsArguments<Element>& g, Range range) {
  Sums::template sum<PairRegisters>(g, range);
}

template <typename Sums, typename Element>
void sum_at_level(const LowRankNormsArguments<Element>& g, Range range, VectorLevel level) {
  switch (level) {
    case VectorLevel::kAvx512Pairs:
      if constexpr (kByPairs<Element>) {
        return sum_by_pairs<Sums>(g, range);
      }
      [[fallthrough]];
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
