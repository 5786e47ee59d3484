#pragma once

#include <bit>
#include <cstdint>

#include "lanes.hpp"
#include "vectors.hpp"

/// Products of bfloat16 in pairs of neighbours, added to sums in fp32: the second one's first, then the first one's,
/// as the processor does where it has them (vdpbf16ps). A product of two bfloat16 is whole in an fp32, so that
/// multiplying and adding one by one gives the same bits.
namespace dormer::kernels {

/// Four bytes of a weight or a factor, wherever they lie: a pair of bfloat16 or an fp32.
typedef std::uint32_t Entry __attribute__((may_alias, aligned(2)));

/// One element after the other, in fp32, in registers of so many.
template <int kFloats>
struct Singles {
  using Part = typename Vectors<kFloats>::Floats;
  using Columns = Part;
  static constexpr int kWidth = kFloats;
  static constexpr std::int64_t kEntries = 2;                    // of a pair of elements
  static constexpr std::int64_t kSums = kFloats == 16 ? 16 : 8;  // that registers hold beside what is multiplied

  static DORMER_INLINE void multiply_add(Part& sum, const Columns& columns, const Entry* factor) {
    sum += columns * std::bit_cast<float>(static_cast<std::uint32_t>(*factor));
  }

  /// Elements of one row, or of two rows in pairs.
  static DORMER_INLINE void take_rows(Columns& columns, const BFloat16* const (&rows)[2], std::int64_t entry) {
    take_elements(columns, rows[entry]);
  }

  /// A row's elements as entries, by way of `copy`.
  static DORMER_INLINE const Entry* entries_of(const BFloat16* elements, std::int64_t count, std::uint32_t* copy) {
    for (std::int64_t i = 0; i < count; ++i) {
      copy[i] = static_cast<std::uint32_t>(elements[i].bits) << 16;
    }
    return copy;
  }
};

#ifdef DORMER_PAIRS
/// The processor's product of a pair adds that of its upper half, rounds, adds that of its lower half, and rounds
/// again.
struct Pairs {
  using Part = Vectors<16>::Floats;
  using Columns = Vectors<16>::Words;
  static constexpr int kWidth = 16;
  static constexpr std::int64_t kEntries = 1;
  static constexpr std::int64_t kSums = 16;

  static DORMER_INLINE void multiply_add(Part& sum, const Columns& columns, const Entry* factor) {
    // Not the compiler's function for it, which may stand only in functions for this one level. By way of another
    // variable, since an operand's own would stay in memory; the factor is one number for all lanes.
    Part next = sum;
    asm("vdpbf16ps %2%{1to16%}, %1, %0" : "+v"(next) : "v"(columns), "m"(*factor));
    sum = next;
  }

  static DORMER_INLINE void take_rows(Columns& columns, const BFloat16* const (&rows)[2], std::int64_t /*entry*/) {
    Vectors<16>::Halves halves[2];
    take(halves[0], rows[0]);
    take(halves[1], rows[1]);
    columns = __builtin_convertvector(halves[0], Columns) | __builtin_convertvector(halves[1], Columns) << 16;
  }

  static DORMER_INLINE const Entry* entries_of(const BFloat16* elements, std::int64_t /*count*/,
                                               std::uint32_t* /*copy*/) {
    return reinterpret_cast<const Entry*>(elements);
  }
};
#endif

}  // namespace dormer::kernels
