#include <cmath>

#include "dormer/kernels/rows.hpp"
#include "lanes.hpp"

namespace dormer::kernels {
namespace {

template <typename Element>
DORMER_INLINE void rms_norm_rows(const RmsNormArguments<Element>& a, Range rows) {
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    const Element* x = a.x + row * a.width;
    Element* y = a.y + row * a.width;
    const float sum = lane_sum(a.width, [x](std::int64_t i) { return load(x + i) * load(x + i); });
    const float inverse = 1.0F / std::sqrt(sum / static_cast<float>(a.width) + a.epsilon);
    a.inverse_rms[row] = inverse;
    for (std::int64_t i = 0; i < a.width; ++i) {
      store(y + i, load(x + i) * inverse * a.weight[i]);
    }
  }
}

template <typename Element>
DORMER_INLINE void rms_norm_backward_rows(const RmsNormBackwardArguments<Element>& a, Range rows) {
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    const Element* x = a.x + row * a.width;
    const Element* g = a.gradient + row * a.width;
    Element* out = a.x_gradient + row * a.width;
    const float* w = a.weight;
    const float inverse = a.inverse_rms[row];
    const float dot = lane_sum(a.width, [x, g, w](std::int64_t i) { return load(g + i) * w[i] * load(x + i); });
    const float pull = dot / static_cast<float>(a.width) * inverse * inverse;
    for (std::int64_t i = 0; i < a.width; ++i) {
      store(out + i, inverse * (load(g + i) * w[i] - load(x + i) * pull));
    }
  }
}

template <typename Element>
DORMER_INLINE void squared_row_sums_rows(const SquaredRowSumsArguments<Element>& a, Range rows) {
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    double total = 0.0;
    for (std::int64_t first = 0; first < a.width; first += kSumBlock) {
      const Element* x = a.x + row * a.width + first;
      const std::int64_t count = a.width - first < kSumBlock ? a.width - first : kSumBlock;
      total += static_cast<double>(lane_sum(count, [x](std::int64_t i) { return load(x + i) * load(x + i); }));
    }
    a.sums[row] = static_cast<float>(total);
  }
}

}  // namespace

DORMER_CLONES void compute_range(const RmsNormArguments<float>& arguments, Range rows) {
  rms_norm_rows(arguments, rows);
}
DORMER_CLONES void compute_range(const RmsNormArguments<BFloat16>& arguments, Range rows) {
  rms_norm_rows(arguments, rows);
}
DORMER_CLONES void compute_range(const RmsNormBackwardArguments<float>& arguments, Range rows) {
  rms_norm_backward_rows(arguments, rows);
}
DORMER_CLONES void compute_range(const RmsNormBackwardArguments<BFloat16>& arguments, Range rows) {
  rms_norm_backward_rows(arguments, rows);
}
DORMER_CLONES void compute_range(const SquaredRowSumsArguments<float>& arguments, Range rows) {
  squared_row_sums_rows(arguments, rows);
}
DORMER_CLONES void compute_range(const SquaredRowSumsArguments<BFloat16>& arguments, Range rows) {
  squared_row_sums_rows(arguments, rows);
}

}  // namespace dormer::kernels
