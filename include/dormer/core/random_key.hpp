#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace dormer {

/// A key of the counter-based generator. Everything random is a pure function of (key, counter), never of a rank,
/// a thread or of how much was drawn before.
struct RandomKey {
  std::uint64_t value = 0;

  /// A key for a named stream or a numbered part below this one (a hash; both orders of use give different keys).
  [[nodiscard]] RandomKey child(std::string_view name) const;
  [[nodiscard]] RandomKey child(std::uint64_t index) const;
};

/// Philox 4x32 with 10 rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): four 32-bit words
/// for (key, counter).
[[nodiscard]] std::array<std::uint32_t, 4> philox(RandomKey key, std::uint64_t counter);

/// Uniform in [0, 1) with 24 bits.
[[nodiscard]] inline float to_uniform(std::uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1p-24F;
}

}  // namespace dormer
