#pragma once

#include <cstdint>

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

}  // namespace dormer::kernels
