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

// One block of columns: its sums stay in registers or the nearest cache while the rows pass.
constexpr std::int64_t kColumnBlock = 128;
template <typename Element>
DORMER_INLINE void scale_columns_backward_block(const ScaleColumnsBackwardArguments<Element>& a, std::int64_t first,
                                                std::int64_t count) {
  constexpr std::int64_t kRows = 64;
  float totals[kColumnBlock] = {};
  float bias[kColumnBlock] = {};
  for (std::int64_t i = 0; a.bias != nullptr && i < count; ++i) {
    bias[i] = load(a.bias + first + i);
  }
  for (std::int64_t begin = 0; begin < a.rows; begin += kRows) {
    float sums[kColumnBlock] = {};
    const std::int64_t end = a.rows < begin + kRows ? a.rows : begin + kRows;
    for (std::int64_t row = begin; row < end; ++row) {
      const Element* g = a.gradient + row * a.width + first;
      const Element* y = a.y + row * a.width + first;
      Element* scaled = a.scaled + row * a.width + first;
      DORMER_INDEPENDENT
      for (std::int64_t i = 0; i < count; ++i) {
        const float gradient = load(g + i);
        sums[i] += gradient * (load(y + i) - bias[i]);
        store(scaled + i, gradient * a.factor[first + i]);
      }
    }
    for (std::int64_t i = 0; i < count; ++i) {
      totals[i] += sums[i];
    }
  }
  for (std::int64_t i = 0; i < count; ++i) {
    a.product_sums[first + i] = totals[i];
  }
}

template <typename Element>
DORMER_INLINE void scale_columns_backward_range(const ScaleColumnsBackwardArguments<Element>& a, Range columns) {
  std::int64_t first = columns.begin;
  for (; first + kColumnBlock <= columns.end; first += kColumnBlock) {
    scale_columns_backward_block(a, first, kColumnBlock);
  }
  if (first < columns.end) {
    scale_columns_backward_block(a, first, columns.end - first);
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
