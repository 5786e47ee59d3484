#pragma once

#include <cstdint>

#include "dormer/core/philox.hpp"
#include "dormer/kernels/element.hpp"
#include "dormer/kernels/rows.hpp"

namespace dormer::kernels {

/// What dropout multiplies an element with: 0 with probability `rate`, else 1 / (1 - rate). A pure function of the key
/// and the element's index: nothing is stored, and the backward pass makes the same mask again.
struct DropoutMask {
  std::uint64_t key = 0;
  std::uint32_t threshold = 0;  ///< words below it drop
  float scale = 1.0F;           ///< of what stays

  /// The mask of one random word.
  [[nodiscard]] DORMER_HOST_DEVICE float of_word(std::uint32_t word) const { return word < threshold ? 0.0F : scale; }
  /// The mask of element `index`; four neighbours share one call of Philox.
  [[nodiscard]] DORMER_HOST_DEVICE float operator()(std::uint64_t index) const {
    return of_word(philox_words(key, index / 4).word[index % 4]);
  }
};

/// `rate` in [0, 1).
[[nodiscard]] DropoutMask dropout_mask(std::uint64_t key, double rate);

/// y[i] = x[i] * mask(i). Items are groups of four elements; the last may be shorter.
template <typename Element>
struct DropoutArguments {
  const Element* x;
  Element* y;  // may be x
  std::int64_t count;
  DropoutMask mask;
};
void compute_range(const DropoutArguments<float>& arguments, Range quads);
void compute_range(const DropoutArguments<BFloat16>& arguments, Range quads);

}  // namespace dormer::kernels
