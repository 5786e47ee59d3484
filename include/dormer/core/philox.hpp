#pragma once

#include <cstdint>

#include "dormer/core/host_device.hpp"

namespace dormer {

/// Four random words.
struct PhiloxWords {
  std::uint32_t word[4];
};

/// Philox 4x32 with 10 rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") for (key, counter),
/// on hosts and GPUs; `philox` of random_key.hpp is the same function of a `RandomKey`.
[[nodiscard]] DORMER_HOST_DEVICE inline PhiloxWords philox_words(std::uint64_t key, std::uint64_t counter) {
  auto x0 = static_cast<std::uint32_t>(counter);
  auto x1 = static_cast<std::uint32_t>(counter >> 32);
  std::uint32_t x2 = 0;
  std::uint32_t x3 = 0;
  auto k0 = static_cast<std::uint32_t>(key);
  auto k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = 0xD2511F53ULL * x0;
    const std::uint64_t product1 = 0xCD9E8D57ULL * x2;
    const auto high0 = static_cast<std::uint32_t>(product0 >> 32);
    const auto high1 = static_cast<std::uint32_t>(product1 >> 32);
    x0 = high1 ^ x1 ^ k0;
    x1 = static_cast<std::uint32_t>(product1);
    x2 = high0 ^ x3 ^ k1;
    x3 = static_cast<std::uint32_t>(product0);
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return {{x0, x1, x2, x3}};
}

}  // namespace dormer
