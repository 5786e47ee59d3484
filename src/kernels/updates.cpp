#include "dormer/kernels/updates.hpp"

#include <cmath>

#include "dormer/kernels/elements.hpp"
#include "lanes.hpp"

namespace dormer::kernels {
namespace {

template <typename Arguments>
DORMER_INLINE void elements_of(const Arguments& arguments, Range elements) {
  for (std::int64_t i = elements.begin; i < elements.end; ++i) {
    compute_element(arguments, i);
  }
}

// The order is the arithmetic's own, and a loop over eight sums vectorizes.
DORMER_INLINE double squared_block(const float* values, std::int64_t count) {
  constexpr std::int64_t kSums = SquaredBlocksArguments::kLanes;
  double sums[kSums] = {};
  const std::int64_t whole = count - count % kSums;
  for (std::int64_t i = 0; i < whole; i += kSums) {
    for (std::int64_t lane = 0; lane < kSums; ++lane) {
      const double value = values[i + lane];
      sums[lane] += value * value;
    }
  }
  for (std::int64_t i = whole; i < count; ++i) {
    const double value = values[i];
    sums[i - whole] += value * value;
  }
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

/// Few rows cancel, so this is written to be read; 256 columns at a time keep the change in the nearest cache.
template <typename Element>
DORMER_INLINE void cancelling_norm_rows(const CancellingNormsArguments<Element>& a, Range rows) {
  constexpr std::int64_t kBlock = 256;
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    if (a.cancels[row] == 0) {
      continue;
    }
    double total = 0.0;
    for (std::int64_t first = 0; first < a.width; first += kBlock) {
      const std::int64_t count = a.width - first < kBlock ? a.width - first : kBlock;
      float change[kBlock] = {};
      for (std::int64_t r = 0; r < a.rank; ++r) {
        const float b = a.b[r * a.rows + row];
        for (std::int64_t i = 0; i < count; ++i) {
          change[i] += b * a.a[r * a.width + first + i];
        }
      }
      for (std::int64_t i = 0; i < count; ++i) {
        const double value =
            static_cast<double>(load(a.weight + row * a.width + first + i)) + static_cast<double>(change[i] * a.scale);
        total += value * value;
      }
    }
    a.norm[row] = static_cast<float>(std::sqrt(total));
  }
}

}  // namespace

DORMER_CLONES void compute_range(const AdamWArguments& arguments, Range elements) {
  elements_of(arguments, elements);
}
DORMER_CLONES void compute_range(const AddArguments& arguments, Range elements) {
  elements_of(arguments, elements);
}
DORMER_CLONES void compute_range(const FillArguments& arguments, Range elements) {
  elements_of(arguments, elements);
}
DORMER_CLONES void compute_range(const SquaredBlocksArguments& arguments, Range blocks) {
  for (std::int64_t block = blocks.begin; block < blocks.end; ++block) {
    const std::int64_t first = block * arguments.block;
    const std::int64_t rest = arguments.size - first;
    arguments.sums[block] = squared_block(arguments.values + first, rest < arguments.block ? rest : arguments.block);
  }
}
DORMER_CLONES void compute_range(const NormsFromTermsArguments& arguments, Range rows) {
  elements_of(arguments, rows);
}
DORMER_CLONES void compute_range(const CancellingNormsArguments<float>& arguments, Range rows) {
  cancelling_norm_rows(arguments, rows);
}
DORMER_CLONES void compute_range(const CancellingNormsArguments<BFloat16>& arguments, Range rows) {
  cancelling_norm_rows(arguments, rows);
}
DORMER_CLONES void compute_range(const MagnitudeFactorsArguments& arguments, Range rows) {
  elements_of(arguments, rows);
}

}  // namespace dormer::kernels
