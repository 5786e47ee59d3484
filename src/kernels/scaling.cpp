#include "dormer/kernels/scaling.hpp"

#include "lanes.hpp"

namespace dormer::kernels {
namespace {

template <typename Element>
DORMER_INLINE void scale_columns_rows(const ScaleColumnsArguments<Element>& a, Range rows) {
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    Element* y = a.y + row * a.width;
    if (a.bias == nullptr) {
      for (std::int64_t i = 0; i < a.width; ++i) {
        store(y + i, load(y + i) * a.factor[i]);
      }
    } else {
      for (std::int64_t i = 0; i < a.width; ++i) {
        store(y + i, load(y + i) * a.factor[i] + load(a.bias + i));
      }
    }
  }
}

/// Some columns of some rows: the sums stay in registers or the nearest cache while the rows pass. The number of
/// columns is a constant, without which the loop is not taken in vectors.
template <std::int64_t kColumns, typename Element>
DORMER_INLINE void scale_columns_backward_tile(const ScaleColumnsBackwardArguments<Element>& a, Range rows,
                                               std::int64_t first) {
  float sums[kColumns] = {};
  float bias[kColumns] = {};
  for (std::int64_t i = 0; a.bias != nullptr && i < kColumns; ++i) {
    bias[i] = load(a.bias + first + i);
  }
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    const Element* g = a.gradient + row * a.width + first;
    const Element* y = a.y + row * a.width + first;
    Element* scaled = a.scaled + row * a.width + first;
    DORMER_INDEPENDENT
    for (std::int64_t i = 0; i < kColumns; ++i) {
      const float gradient = load(g + i);
      sums[i] += gradient * (load(y + i) - bias[i]);
      store(scaled + i, gradient * a.factor[first + i]);
    }
  }
  for (std::int64_t i = 0; i < kColumns; ++i) {
    a.product_sums[first + i] += sums[i];
  }
}

/// Tiles of so many columns from `first` on; returns the first column that is left.
template <std::int64_t kColumns, typename Element>
DORMER_INLINE std::int64_t scale_columns_backward_tiles(const ScaleColumnsBackwardArguments<Element>& a, Range rows,
                                                        std::int64_t first, std::int64_t end) {
  for (; first + kColumns <= end; first += kColumns) {
    scale_columns_backward_tile<kColumns>(a, rows, first);
  }
  return first;
}

/// Few rows at a time: their pages are still known when the next columns come.
template <typename Element>
DORMER_INLINE void scale_columns_backward_range(const ScaleColumnsBackwardArguments<Element>& a, Range columns) {
  constexpr std::int64_t kRows = 64;
  for (std::int64_t i = columns.begin; i < columns.end; ++i) {
    a.product_sums[i] = 0.0F;
  }
  for (std::int64_t begin = 0; begin < a.rows; begin += kRows) {
    const Range rows{begin, a.rows < begin + kRows ? a.rows : begin + kRows};
    std::int64_t first = scale_columns_backward_tiles<128>(a, rows, columns.begin, columns.end);
    first = scale_columns_backward_tiles<32>(a, rows, first, columns.end);
    first = scale_columns_backward_tiles<8>(a, rows, first, columns.end);
    scale_columns_backward_tiles<1>(a, rows, first, columns.end);
  }
}

template <typename Element>
DORMER_INLINE void scale_rows(const ScaleRowsArguments<Element>& a, Range rows) {
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    const std::int64_t channel = row % a.channels;
    const float factor = a.factor[channel];
    const float bias = a.bias == nullptr ? 0.0F : load(a.bias + channel);
    Element* y = a.y + row * a.width;
    for (std::int64_t i = 0; i < a.width; ++i) {
      store(y + i, load(y + i) * factor + bias);
    }
  }
}

template <typename Element>
DORMER_INLINE void scale_rows_backward(const ScaleRowsBackwardArguments<Element>& a, Range rows) {
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    const std::int64_t channel = row % a.channels;
    const float factor = a.factor[channel];
    const float bias = a.bias == nullptr ? 0.0F : load(a.bias + channel);
    double total = 0.0;
    for (std::int64_t first = 0; first < a.width; first += kSumBlock) {
      const std::int64_t count = a.width - first < kSumBlock ? a.width - first : kSumBlock;
      const Element* gradient = a.gradient + row * a.width + first;
      const Element* y = a.y + row * a.width + first;
      Element* scaled = a.scaled + row * a.width + first;
      total += static_cast<double>(
          lane_sum(count, [=](std::int64_t i) { return load(gradient + i) * (load(y + i) - bias); }));
      DORMER_INDEPENDENT
      for (std::int64_t i = 0; i < count; ++i) {  // from the nearest cache; after the sum, since it may overwrite
        store(scaled + i, load(gradient + i) * factor);
      }
    }
    a.row_sums[row] = static_cast<float>(total);
  }
}

}  // namespace

DORMER_CLONES void compute_range(const ScaleColumnsArguments<float>& arguments, Range rows) {
  scale_columns_rows(arguments, rows);
}
DORMER_CLONES void compute_range(const ScaleColumnsArguments<BFloat16>& arguments, Range rows) {
  scale_columns_rows(arguments, rows);
}
DORMER_CLONES void compute_range(const ScaleColumnsBackwardArguments<float>& arguments, Range columns) {
  scale_columns_backward_range(arguments, columns);
}
DORMER_CLONES void compute_range(const ScaleColumnsBackwardArguments<BFloat16>& arguments, Range columns) {
  scale_columns_backward_range(arguments, columns);
}
DORMER_CLONES void compute_range(const ScaleRowsArguments<float>& arguments, Range rows) {
  scale_rows(arguments, rows);
}
DORMER_CLONES void compute_range(const ScaleRowsArguments<BFloat16>& arguments, Range rows) {
  scale_rows(arguments, rows);
}
DORMER_CLONES void compute_range(const ScaleRowsBackwardArguments<float>& arguments, Range rows) {
  scale_rows_backward(arguments, rows);
}
DORMER_CLONES void compute_range(const ScaleRowsBackwardArguments<BFloat16>& arguments, Range rows) {
  scale_rows_backward(arguments, rows);
}

}  // namespace dormer::kernels
