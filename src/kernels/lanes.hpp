#pragma once

#include <cstdint>

#include "dormer/kernels/element.hpp"

/// Builds a loop for three levels of x86-64 and picks at load time. Not under sanitizers: their run-time is not ready
/// when the choice is made. The bits do not depend on the level: no contraction, and sums over fixed lanes.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(DORMER_SANITIZED)
#define DORMER_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define DORMER_CLONES
#endif
/// A function for one VectorLevel, where a clone would not do: it must know how many floats a register holds.
#if defined(__x86_64__) && defined(__GNUC__)
#define DORMER_AVX2 __attribute__((target("avx2")))
#define DORMER_AVX512 __attribute__((target("avx512f")))
#else
#define DORMER_AVX2
#define DORMER_AVX512
#endif
/// Where a loop can ask the processor for the products of bfloat16 in pairs (VectorLevel::kAvx512Pairs). Clang checks
/// an instruction's registers before it knows whose function it becomes part of.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define DORMER_PAIRS
#endif
/// Before a loop whose turns touch elements of their own alone, though its arrays may be the same: without it a
/// compiler that cannot tell them apart takes one element at a time.
#if defined(__GNUC__) && !defined(__clang__)
#define DORMER_INDEPENDENT _Pragma("GCC ivdep")
#else
#define DORMER_INDEPENDENT
#endif
/// Before a loop of few turns whose results stay in registers.
#if defined(__GNUC__) && !defined(__clang__)
#define DORMER_UNROLLED _Pragma("GCC unroll 16")
#else
#define DORMER_UNROLLED
#endif
#define DORMER_INLINE inline __attribute__((always_inline))

namespace dormer::kernels {

constexpr std::int64_t kLanes = 16;

/// Adds 16 lanes in a fixed tree.
DORMER_INLINE float fold_sum(const float (&lanes)[kLanes]) {
  float half[8];
  for (int i = 0; i < 8; ++i) {
    half[i] = lanes[i] + lanes[i + 8];
  }
  return ((half[0] + half[4]) + (half[2] + half[6])) + ((half[1] + half[5]) + (half[3] + half[7]));
}

/// Sum of f(i) over i < count: 16 lanes, then the tail in lane order.
template <typename Function>
DORMER_INLINE float lane_sum(std::int64_t count, const Function& function) {
  float lanes[kLanes] = {};
  const std::int64_t whole = count - count % kLanes;
  for (std::int64_t i = 0; i < whole; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] += function(i + lane);
    }
  }
  for (std::int64_t i = whole; i < count; ++i) {
    lanes[i - whole] += function(i);
  }
  return fold_sum(lanes);
}

/// Long sums: so many elements in fp32 lanes, the blocks' sums in fp64.
constexpr std::int64_t kSumBlock = 1'024;

DORMER_INLINE float larger(float a, float b) {
  return a > b ? a : b;
}

}  // namespace dormer::kernels
