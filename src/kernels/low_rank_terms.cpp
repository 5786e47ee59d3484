#include "dormer/kernels/low_rank_terms.hpp"

#include <algorithm>

#include "lanes.hpp"
#include "pair_products.hpp"

namespace dormer::kernels {
namespace {

constexpr bool by_pairs(VectorLevel level) {
#ifdef DORMER_PAIRS
  return level == VectorLevel::kAvx512Pairs;
#else
  static_cast<void>(level);
  return false;
#endif
}

constexpr std::int64_t kRunWidth = 512;  // elements of a row whose products are one sum
constexpr std::int64_t kRunRows = 256;   // the same of a column

/// Rows of W that meet one part of the factor, and rows or columns with which both kinds of loops end.
constexpr std::int64_t kTile = 8;
typedef std::uint16_t TileHalves __attribute__((vector_size(16)));
typedef std::uint32_t TileWords __attribute__((vector_size(32)));
typedef float TileFloats __attribute__((vector_size(32)));
typedef double TileDoubles __attribute__((vector_size(64)));

/// What follows from a tile's products [rank, kTile] with a panel. `own` is the other factor from the tile on, whose
/// ranks lie `stride` apart; `factors` has room for rank * kTile.
DORMER_INLINE void finish(const FactorPanel& panel, const BFloat16* own, std::int64_t stride, std::int64_t count,
                          const float* products, double* factors, double* change, double* size) {
  TileDoubles changes = {};
  TileDoubles sizes = {};
  for (std::int64_t r = 0; r < panel.rank(); ++r) {
    TileHalves halves = {};
    if (count == kTile) {
      take(halves, own + r * stride);
    } else {
      for (std::int64_t lane = 0; lane < count; ++lane) {
        halves[lane] = own[r * stride + lane].bits;
      }
    }
    const TileWords wide = __builtin_convertvector(halves, TileWords) << 16;
    TileFloats values;
    take(values, &wide);
    const TileDoubles factor = __builtin_convertvector(values, TileDoubles);
    __builtin_memcpy(factors + r * kTile, &factor, sizeof(factor));

    const double* row = panel.products() + r * panel.rank();
    take(values, products + r * kTile);
    TileDoubles sum = __builtin_convertvector(values, TileDoubles);
    constexpr std::int64_t kChains = 4;  // of additions that wait for each other
    TileDoubles chains[kChains] = {};
    std::int64_t q = 0;
    for (; q + kChains <= r; q += kChains) {
      DORMER_UNROLLED for (std::int64_t chain = 0; chain < kChains; ++chain) {
        TileDoubles other;
        take(other, factors + (q + chain) * kTile);
        chains[chain] += other * row[q + chain];
      }
    }
    for (; q < r; ++q) {
      TileDoubles other;
      take(other, factors + q * kTile);
      sum += other * row[q];
    }
    sum += (chains[0] + chains[1]) + (chains[2] + chains[3]);
    const TileDoubles square = factor * row[r];
    changes += factor * (sum + sum + square);
    sizes += factor * square;
  }
  double lanes[kTile];
  __builtin_memcpy(lanes, &changes, sizeof(lanes));
  std::copy_n(lanes, count, change);
  __builtin_memcpy(lanes, &sizes, sizeof(lanes));
  std::copy_n(lanes, count, size);
}

/// The products of some rows' elements with a panel's ranks.
template <typename Level>
class RowProducts {
 public:
  explicit RowProducts(const FactorPanel& panel)
      : panel_(panel),
        copies_(Level::kEntries == 1 ? 0 : static_cast<std::size_t>(kTile * kRunWidth)),
        sums_(static_cast<std::size_t>(kTile * panel.lanes())) {}

  /// Of at most kTile rows; `ahead` elements further the next ones lie.
  DORMER_INLINE void add_up(const BFloat16* weight, std::int64_t width, std::int64_t count, std::int64_t ahead) {
    std::fill(sums_.begin(), sums_.end(), 0.0F);
    const BFloat16* rows[kTile];
    for (std::int64_t k = 0; k < kTile; ++k) {
      rows[k] = weight + std::min(k, count - 1) * width;  // those beyond the last one are the last one again
    }
    const std::int64_t pairs = width / 2;
    for (std::int64_t first = 0; first < pairs; first += kRunWidth / 2) {
      const std::int64_t run = std::min(kRunWidth / 2, pairs - first);
      add_run(rows, first, run, ahead);
      for (const BFloat16*& row : rows) {
        row += 2 * run;
      }
    }
    if (width % 2 != 0) {  // reading a pair would read beyond W
      BFloat16 last[kTile][2] = {};
      for (std::int64_t k = 0; k < kTile; ++k) {
        last[k][0] = *rows[k];
        rows[k] = last[k];
      }
      add_run(rows, pairs, 1, 0);
    }
  }

  /// [kTile, lanes].
  [[nodiscard]] const float* sums() const { return sums_.data(); }

 private:
  /// `rows` from the run on, which is at pair `first` of the panel.
  DORMER_INLINE void add_run(const BFloat16* const (&rows)[kTile], std::int64_t first, std::int64_t pairs,
                             std::int64_t ahead) {
    const Entry* factors[kTile];
    for (std::int64_t k = 0; k < kTile; ++k) {
      factors[k] = Level::entries_of(rows[k], 2 * pairs, copies_.data() + k * kRunWidth);
    }
    const std::uint32_t* entries = panel_.entries() + first * Level::kEntries * panel_.lanes();
    for (std::int64_t lane = 0; lane < panel_.lanes(); lane += Level::kWidth) {
      typename Level::Part sums[kTile] = {};
      for (std::int64_t block = 0; block < pairs; block += kLinePairs) {
        if (lane == 0) {  // short pieces of many rows are no stream that a core foresees
          DORMER_UNROLLED for (std::int64_t k = 0; k < kTile; ++k) {
            __builtin_prefetch(rows[k] + 2 * block + ahead);
          }
        }
        const std::int64_t end = std::min(block + kLinePairs, pairs);
        for (std::int64_t pair = block; pair < end; ++pair) {
          add_pair(factors, entries + lane, pair, sums);
        }
      }
      DORMER_UNROLLED for (std::int64_t k = 0; k < kTile; ++k) {
        float* const to = sums_.data() + k * panel_.lanes() + lane;
        typename Level::Part total;
        take(total, to);
        total += sums[k];
        __builtin_memcpy(to, &total, sizeof(total));
      }
    }
  }

  static constexpr std::int64_t kLinePairs = 16;  // of a line of the cache

  DORMER_INLINE void add_pair(const Entry* const (&factors)[kTile], const std::uint32_t* entries, std::int64_t pair,
                              typename Level::Part (&sums)[kTile]) {
    DORMER_UNROLLED for (std::int64_t entry = Level::kEntries - 1; entry >= 0; --entry) {
      const std::int64_t index = pair * Level::kEntries + entry;
      typename Level::Columns columns;
      take(columns, entries + index * panel_.lanes());
      DORMER_UNROLLED for (std::int64_t k = 0; k < kTile; ++k) {
        Level::multiply_add(sums[k], columns, factors[k] + index);
      }
    }
  }

  const FactorPanel& panel_;
  std::vector<std::uint32_t> copies_;
  std::vector<float> sums_;
};

struct PanelProducts {
  template <typename Level>
  static DORMER_INLINE void run(const FactorPanel& panel, const BFloat16* factor, std::int64_t length,
                                double* products) {
    RowProducts<Level> rows(panel);
    for (std::int64_t r = 0; r < panel.rank(); r += kTile) {
      const std::int64_t count = std::min(kTile, panel.rank() - r);
      rows.add_up(factor + r * length, length, count, 0);
      for (std::int64_t k = 0; k < count; ++k) {
        for (std::int64_t q = 0; q < panel.rank(); ++q) {
          products[(r + k) * panel.rank() + q] = static_cast<double>(rows.sums()[k * panel.lanes() + q]);
        }
      }
    }
  }
};

struct RowTerms {
  template <typename Level>
  static DORMER_INLINE void run(const LowRankTermsArguments& g, const FactorPanel& a, Range rows) {
    RowProducts<Level> products(a);
    std::vector<float> by_rank(static_cast<std::size_t>(g.rank * kTile));
    std::vector<double> factors(static_cast<std::size_t>(g.rank * kTile));
    for (std::int64_t row = rows.begin; row < rows.end; row += kTile) {
      const std::int64_t count = std::min(kTile, rows.end - row);
      const std::int64_t ahead = row + 2 * kTile <= g.rows ? kTile * g.width : 0;
      products.add_up(g.weight + row * g.width, g.width, count, ahead);
      for (std::int64_t k = 0; k < kTile; ++k) {
        for (std::int64_t r = 0; r < g.rank; ++r) {
          by_rank[static_cast<std::size_t>(r * kTile + k)] = products.sums()[k * a.lanes() + r];
        }
      }
      finish(a, g.b + row, g.rows, count, by_rank.data(), factors.data(), g.change + row, g.size + row);
    }
  }
};

/// The products of a range of columns with a panel's ranks.
template <typename Level>
class ColumnProducts {
 public:
  ColumnProducts(const FactorPanel& panel, std::int64_t columns)
      : panel_(panel),
        stride_((columns + kLanes - 1) / kLanes * kLanes),
        sums_(static_cast<std::size_t>(panel.lanes() * stride_)) {}

  /// Of rows that lie `stride` apart, from panel row `first` on; `to` is the columns' place in the range. Sixteen
  /// columns.
  DORMER_INLINE void add_run(const BFloat16* weight, std::int64_t stride, std::int64_t first, std::int64_t rows,
                             std::int64_t to) {
    const std::uint32_t* entries = panel_.entries() + first / 2 * Level::kEntries * panel_.lanes();
    for (std::int64_t rank = 0; rank < panel_.lanes(); rank += Level::kSums) {
      for (std::int64_t part = 0; part < kLanes; part += Level::kWidth) {
        typename Level::Part sums[Level::kSums] = {};
        for (std::int64_t row = 0; row + 1 < rows; row += 2) {
          const BFloat16* pair = weight + row * stride + part;
          __builtin_prefetch(pair + kAhead);
          __builtin_prefetch(pair + stride + kAhead);
          add_pair({pair, pair + stride}, entries + row / 2 * Level::kEntries * panel_.lanes() + rank, sums);
        }
        if (rows % 2 != 0) {
          const BFloat16 zeros[kLanes] = {};
          add_pair({weight + (rows - 1) * stride + part, zeros},
                   entries + rows / 2 * Level::kEntries * panel_.lanes() + rank, sums);
        }
        DORMER_UNROLLED for (std::int64_t r = 0; r < Level::kSums; ++r) {
          float* const sum = sums_.data() + (rank + r) * stride_ + to + part;
          typename Level::Part total;
          take(total, sum);
          total += sums[r];
          __builtin_memcpy(sum, &total, sizeof(total));
        }
      }
    }
  }

  [[nodiscard]] const float* sums(std::int64_t rank) const { return sums_.data() + rank * stride_; }

 private:
  static constexpr std::int64_t kAhead = 64;  // elements: two lines

  DORMER_INLINE void add_pair(const BFloat16* const (&rows)[2], const std::uint32_t* entries,
                              typename Level::Part (&sums)[Level::kSums]) {
    DORMER_UNROLLED for (std::int64_t entry = Level::kEntries - 1; entry >= 0; --entry) {
      typename Level::Columns columns;
      Level::take_rows(columns, rows, entry);
      DORMER_UNROLLED for (std::int64_t r = 0; r < Level::kSums; ++r) {
        Level::multiply_add(sums[r], columns, entries + entry * panel_.lanes() + r);
      }
    }
  }

  const FactorPanel& panel_;
  std::int64_t stride_;
  std::vector<float> sums_;
};

struct ColumnTerms {
  template <typename Level>
  static DORMER_INLINE void run(const LowRankTermsArguments& g, const FactorPanel& b, Range columns) {
    const std::int64_t count = columns.end - columns.begin;
    ColumnProducts<Level> products(b, count);
    std::vector<BFloat16> copy;
    for (std::int64_t row = 0; row < g.rows; row += kRunRows) {
      const std::int64_t rows = std::min(kRunRows, g.rows - row);
      for (std::int64_t i = 0; i < count; i += kLanes) {
        const BFloat16* weight = g.weight + row * g.width + columns.begin + i;
        if (const std::int64_t whole = count - i; whole < kLanes) {
          copy.assign(static_cast<std::size_t>(rows * kLanes), BFloat16{});
          for (std::int64_t k = 0; k < rows; ++k) {
            std::copy_n(weight + k * g.width, whole, copy.data() + k * kLanes);
          }
          products.add_run(copy.data(), kLanes, row, rows, i);
        } else {
          products.add_run(weight, g.width, row, rows, i);
        }
      }
    }
    std::vector<float> by_rank(static_cast<std::size_t>(g.rank * kTile));
    std::vector<double> factors(static_cast<std::size_t>(g.rank * kTile));
    for (std::int64_t i = 0; i < count; i += kTile) {
      for (std::int64_t r = 0; r < g.rank; ++r) {
        std::copy_n(products.sums(r) + i, kTile, by_rank.data() + r * kTile);
      }
      const std::int64_t at = columns.begin + i;
      finish(b, g.a + at, g.width, std::min(kTile, count - i), by_rank.data(), factors.data(), g.change + at,
             g.size + at);
    }
  }
};

template <typename Work, typename... Arguments>
DORMER_AVX2 void run_by_avx2(const Arguments&... arguments) {
  Work::template run<Singles<8>>(arguments...);
}
template <typename Work, typename... Arguments>
DORMER_AVX512 void run_by_avx512(const Arguments&... arguments) {
  Work::template run<Singles<16>>(arguments...);
}
#ifdef DORMER_PAIRS
template <typename Work, typename... Arguments>
DORMER_AVX512 void run_by_pairs(const Arguments&... arguments) {
  Work::template run<Pairs>(arguments...);
}
#endif

template <typename Work, typename... Arguments>
void run_at(VectorLevel level, const Arguments&... arguments) {
  switch (level) {
    case VectorLevel::kAvx512Pairs:
#ifdef DORMER_PAIRS
      return run_by_pairs<Work>(arguments...);
#endif
    case VectorLevel::kAvx512:
      return run_by_avx512<Work>(arguments...);
    case VectorLevel::kAvx2:
      return run_by_avx2<Work>(arguments...);
    case VectorLevel::kBase:
      return Work::template run<Singles<4>>(arguments...);
  }
}

}  // namespace

FactorPanel::FactorPanel(const BFloat16* factor, std::int64_t rank, std::int64_t length, VectorLevel level)
    : level_(level),
      rank_(rank),
      lanes_((rank + kLanes - 1) / kLanes * kLanes),
      entries_(std::make_unique_for_overwrite<std::uint32_t[]>(
          static_cast<std::size_t>((length + 1) / 2 * (by_pairs(level) ? 1 : 2) * lanes_))),
      products_(static_cast<std::size_t>(rank * rank)) {
  std::uint32_t* to = entries_.get();
  const auto each = [&](std::int64_t count, const auto& entry) {
    for (std::int64_t i = 0; i < count; ++i, to += lanes_) {
      for (std::int64_t r = 0; r < rank; ++r) {
        to[r] = entry(factor + r * length, i);
      }
      std::fill(to + rank, to + lanes_, 0U);
    }
  };
  const auto bits = [](const BFloat16* row, std::int64_t i) { return static_cast<std::uint32_t>(row[i].bits); };
  if (by_pairs(level)) {
    each(length / 2,
         [&](const BFloat16* row, std::int64_t i) { return bits(row, 2 * i) | bits(row, 2 * i + 1) << 16; });
    each(length % 2, [&](const BFloat16* row, std::int64_t /*i*/) { return bits(row, length - 1); });
  } else {
    each(length, [&](const BFloat16* row, std::int64_t i) { return bits(row, i) << 16; });
    each(length % 2, [](const BFloat16* /*row*/, std::int64_t /*i*/) { return 0U; });
  }
  run_at<PanelProducts>(level, *this, factor, length, products_.data());
}

void low_rank_row_terms(const LowRankTermsArguments& arguments, const FactorPanel& a, Range rows) {
  run_at<RowTerms>(a.level(), arguments, a, rows);
}

void low_rank_column_terms(const LowRankTermsArguments& arguments, const FactorPanel& b, Range columns) {
  run_at<ColumnTerms>(b.level(), arguments, b, columns);
}

}  // namespace dormer::kernels
