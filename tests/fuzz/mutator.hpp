#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "fuzz/reader.hpp"

namespace dormer::fuzz {

/// Small numbers from a seed; the same everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  /// Below `limit`; 0 where that is 0.
  std::size_t below(std::size_t limit) { return limit == 0 ? 0 : static_cast<std::size_t>(engine_() % limit); }
  bool one_in(std::size_t chances) { return below(chances) == 0; }
  std::uint64_t word() { return engine_(); }
  template <typename T>
  const T& of(const std::vector<T>& choices) {
    return choices[below(choices.size())];
  }

 private:
  std::mt19937_64 engine_;
};

constexpr std::size_t kLargestInput = 1 << 20;  ///< bytes of a file: mutations do not grow beyond it

/// What inputs of one reader are made of.
struct Material {
  std::vector<Files> seeds;
  std::vector<std::string> words;
};

/// One of the seeds with a few changes, of bytes and of what the file means (tensors of a safetensors file, values of a
/// JSON text). The same from the same random numbers.
[[nodiscard]] Files mutated(Random& random, const Reader& reader, const Material& material);

/// One change each, in place.
void mutate_bytes(Random& random, std::string& bytes, const std::vector<std::string>& words, const std::string& other);
void mutate_json(Random& random, std::string& text, const std::vector<std::string>& words);
void mutate_tensors(Random& random, std::string& file, const std::vector<std::string>& words);

/// `levels` brackets within each other, closed or not.
[[nodiscard]] std::string nested(Random& random, const std::string& open, const std::string& close);

}  // namespace dormer::fuzz
