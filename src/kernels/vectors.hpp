#pragma once

#include <cstdint>

#include "dormer/kernels/element.hpp"
#include "lanes.hpp"

namespace dormer::kernels {

/// Vectors by their width: GCC takes no width that depends on a template's parameter everywhere. A loop for a
/// VectorLevel takes those of its registers: a compiler keeps wider ones in memory, ten times as slow.
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

/// Values from memory that need not be aligned for them.
template <typename Value>
DORMER_INLINE void take(Value& value, const void* from) {
  __builtin_memcpy(&value, from, sizeof(value));
}

/// As many elements as a vector of fp32 has.
template <typename Floats>
DORMER_INLINE void take_elements(Floats& values, const float* from) {
  take(values, from);
}
template <typename Floats>
DORMER_INLINE void take_elements(Floats& values, const BFloat16* from) {
  static_assert(sizeof(BFloat16) == sizeof(std::uint16_t));
  using Width = Vectors<static_cast<int>(sizeof(Floats) / sizeof(float))>;
  typename Width::Halves halves;
  take(halves, from);
  const auto wide = __builtin_convertvector(halves, typename Width::Words) << 16;
  take(values, &wide);
}

}  // namespace dormer::kernels
