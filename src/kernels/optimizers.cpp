#include "dormer/kernels/optimizers.hpp"

#include "dormer/kernels/optimizer_elements.hpp"
#include "dormer/kernels/team.hpp"
#include "lanes.hpp"

namespace dormer::kernels {
namespace {

template <typename Arguments>
DORMER_INLINE void elements_of(const Arguments& arguments, Range elements) {
  for (std::int64_t i = elements.begin; i < elements.end; ++i) {
    compute_element(arguments, i);
  }
}

constexpr std::int64_t kSums = 8;

/// Eight running sums, added pairwise: the order is the arithmetic's own, and the loop vectorizes.
template <typename Function>
DORMER_INLINE double eight_sums(std::int64_t count, const Function& function) {
  double sums[kSums] = {};
  const std::int64_t whole = count - count % kSums;
  for (std::int64_t i = 0; i < whole; i += kSums) {
    for (std::int64_t lane = 0; lane < kSums; ++lane) {
      sums[lane] += function(i + lane);
    }
  }
  for (std::int64_t i = whole; i < count; ++i) {
    sums[i - whole] += function(i);
  }
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

}  // namespace

DORMER_CLONES void compute_range(const LionArguments& arguments, Range elements) {
  elements_of(arguments, elements);
}
DORMER_CLONES void compute_range(const ScheduleFreeArguments& arguments, Range elements) {
  elements_of(arguments, elements);
}
DORMER_CLONES void compute_range(const ProdigyMomentsArguments& arguments, Range elements) {
  elements_of(arguments, elements);
}
DORMER_CLONES void compute_range(const ProdigySumsArguments& a, Range blocks) {
  for (std::int64_t block = blocks.begin; block < blocks.end; ++block) {
    const std::int64_t first = block * a.width;
    const std::int64_t count = a.size - first < a.width ? a.size - first : a.width;
    a.sums[2 * block] = eight_sums(count, [&](std::int64_t i) { return prodigy_product(a, first + i); });
    a.sums[2 * block + 1] =
        eight_sums(count, [&](std::int64_t i) { return static_cast<double>(std::fabs(a.weighted_sums[first + i])); });
  }
}
DORMER_CLONES void compute_range(const ProdigyStepArguments& arguments, Range elements) {
  elements_of(arguments, elements);
}
DORMER_CLONES void compute_range(const EncodeMomentsArguments& arguments, Range blocks) {
  for (std::int64_t block = blocks.begin; block < blocks.end; ++block) {
    const std::int64_t first = block * arguments.width;
    const std::int64_t rest = arguments.size - first;
    const std::int64_t count = rest < arguments.width ? rest : arguments.width;
    const float largest =
        SimulatedTeam<1>().maximum(count, [&](std::int64_t i) { return std::fabs(arguments.values[first + i]); });
    arguments.largest[block] = largest;
    for (std::int64_t quad = 0; 4 * quad < count; ++quad) {  // four elements share their random words
      const std::int64_t left = count - 4 * quad;
      encode_quad(arguments, first / 4 + quad, left < 4 ? left : 4, largest);
    }
  }
}
DORMER_CLONES void compute_range(const DecodeMomentsArguments& arguments, Range elements) {
  elements_of(arguments, elements);
}

}  // namespace dormer::kernels
