#pragma once

#include <bit>
#include <cstdint>

#include "dormer/kernels/host_device.hpp"

namespace dormer::kernels {

/// A bfloat16 in memory: the upper half of an fp32.
struct BFloat16 {
  std::uint16_t bits = 0;
};

/// Reading and writing elements with arithmetic in fp32. Writing rounds to nearest, ties to even.
DORMER_HOST_DEVICE inline float load(const float* from) {
  return *from;
}
DORMER_HOST_DEVICE inline float load(const BFloat16* from) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(from->bits) << 16);
}
DORMER_HOST_DEVICE inline void store(float* to, float value) {
  *to = value;
}
DORMER_HOST_DEVICE inline void store(BFloat16* to, float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
  const std::uint32_t quiet_nan = (bits >> 16) | 0x40U;  // rounding must not turn a NaN into an infinity
  to->bits = static_cast<std::uint16_t>((bits & 0x7FFFFFFFU) > 0x7F800000U ? quiet_nan : rounded);
}

/// e^x in fp32 to about 2 ulp, by additions and multiplications alone, so that loops over it vectorize and give the
/// same bits on every instruction set. Below -87 it is 0; above 88 it is infinity.
DORMER_HOST_DEVICE inline float exponential(float x) {
  const float clamped = x < -87.0F ? -87.0F : (x > 88.0F ? 88.0F : x);
  const float shifted = clamped * 1.44269504F + 12582912.0F;  // 1.5 * 2^23: rounds to an integer in the low bits
  const float power = shifted - 12582912.0F;
  const float rest = (clamped - power * 0.693359375F) + power * 2.12194440e-4F;  // ln 2 in two parts
  float series = 1.9875691500e-4F;  // minimax coefficients for e^r on |r| <= ln(2)/2 (Cephes, S. Moshier)
  series = series * rest + 1.3981999507e-3F;
  series = series * rest + 8.3334519073e-3F;
  series = series * rest + 4.1665795894e-2F;
  series = series * rest + 1.6666665459e-1F;
  series = series * rest + 5.0000001201e-1F;
  series = series * (rest * rest) + rest + 1.0F;
  const auto exponent = static_cast<std::int32_t>(power);
  const float result = series * std::bit_cast<float>((exponent + 127) << 23);
  const float above = x > 88.0F ? std::bit_cast<float>(0x7F800000) : result;
  const float below = x < -87.0F ? 0.0F : above;
  return x != x ? x : below;
}

}  // namespace dormer::kernels
