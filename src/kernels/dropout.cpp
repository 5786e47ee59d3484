#include "dormer/kernels/dropout.hpp"

#include "lanes.hpp"

namespace dormer::kernels {
namespace {

constexpr std::int64_t kQuad = 4;

template <typename Element>
DORMER_INLINE void dropout_quads(const DropoutArguments<Element>& a, Range quads) {
  const std::int64_t whole = a.count / kQuad < quads.end ? a.count / kQuad : quads.end;
  const DropoutMask mask = a.mask;
  for (std::int64_t quad = quads.begin; quad < whole; ++quad) {
    const PhiloxWords words = philox_words(mask.key, static_cast<std::uint64_t>(quad));
    const Element* x = a.x + quad * kQuad;
    Element* y = a.y + quad * kQuad;
    for (std::int64_t i = 0; i < kQuad; ++i) {
      store(y + i, load(x + i) * mask.of_word(words.word[i]));
    }
  }
  if (whole < quads.end) {
    for (std::int64_t i = whole * kQuad; i < a.count; ++i) {
      store(a.y + i, load(a.x + i) * mask(static_cast<std::uint64_t>(i)));
    }
  }
}

}  // namespace

DropoutMask dropout_mask(std::uint64_t key, double rate) {
  return {.key = key,
          .threshold = static_cast<std::uint32_t>(rate * 0x1p32),
          .scale = static_cast<float>(1.0 / (1.0 - rate))};
}

DORMER_CLONES void compute_range(const DropoutArguments<float>& arguments, Range quads) {
  dropout_quads(arguments, quads);
}
DORMER_CLONES void compute_range(const DropoutArguments<BFloat16>& arguments, Range quads) {
  dropout_quads(arguments, quads);
}

}  // namespace dormer::kernels
