#include "dormer/core/random_key.hpp"

namespace dormer {
namespace {

// The finalizer of SplitMix64 (Steele et al. 2014): a bijection of 64 bits that mixes well.
constexpr std::uint64_t mix(std::uint64_t word) {
  word += 0x9E3779B97F4A7C15ULL;
  word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9ULL;
  word = (word ^ (word >> 27)) * 0x94D049BB133111EBULL;
  return word ^ (word >> 31);
}

}  // namespace

RandomKey RandomKey::child(std::string_view name) const {
  std::uint64_t hash = 0xCBF29CE484222325ULL;  // FNV-1a over the name, then mixed with the parent
  for (const char letter : name) {
    hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001B3ULL;
  }
  return {mix(mix(value ^ 0x6E616D65ULL) ^ hash)};
}

RandomKey RandomKey::child(std::uint64_t index) const {
  return {mix(mix(value ^ 0x696E6478ULL) + index)};
}

std::array<std::uint32_t, 4> philox(RandomKey key, std::uint64_t counter) {
  std::uint32_t x0 = static_cast<std::uint32_t>(counter);
  std::uint32_t x1 = static_cast<std::uint32_t>(counter >> 32);
  std::uint32_t x2 = 0;
  std::uint32_t x3 = 0;
  std::uint32_t k0 = static_cast<std::uint32_t>(key.value);
  std::uint32_t k1 = static_cast<std::uint32_t>(key.value >> 32);
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
  return {x0, x1, x2, x3};
}

}  // namespace dormer
