#include "dormer/core/random_key.hpp"

#include "dormer/core/philox.hpp"

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
  const PhiloxWords words = philox_words(key.value, counter);
  return {words.word[0], words.word[1], words.word[2], words.word[3]};
}

}  // namespace dormer
