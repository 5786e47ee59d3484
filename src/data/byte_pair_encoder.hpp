#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/clip_vocabulary.hpp"

namespace dormer::data {

/// Words to ids: a symbol for each byte, the last one's with "</w>", then the pair of neighbours with the lowest rank
/// is merged, the leftmost first, until no pair has a rank (Sennrich et al. 2016, "Neural machine translation of rare
/// words with subword units").
class BytePairEncoder {
 public:
  /// `unknown` is the token that stands for bytes which the vocabulary has not; it matters where some are missing.
  /// Throws input errors for merges of tokens that are none, and where bytes and `unknown` are missing.
  BytePairEncoder(const ClipVocabulary& vocabulary, std::string_view unknown);

  /// Appends the ids of one word, which is not empty. May be called from several threads.
  void append(std::string_view word, std::vector<std::int64_t>& ids) const;

  /// The printable character that stands for a byte in vocabularies (GPT-2's table), as UTF-8.
  [[nodiscard]] static std::string spelling(unsigned char byte);

 private:
  using Id = std::int32_t;
  struct Ranked {
    std::int32_t rank;
    Id result;
  };
  struct Symbol;
  struct Candidate;

  void read_bytes(const ClipVocabulary& vocabulary, std::string_view unknown);
  void read_merges(const ClipVocabulary& vocabulary);
  [[nodiscard]] const Ranked* find(Id left, Id right) const;
  [[nodiscard]] std::vector<Id> merged(std::string_view word) const;

  std::array<Id, 256> inner_{};  ///< of a byte that another follows
  std::array<Id, 256> last_{};   ///< of a word's last byte
  std::unordered_map<std::uint64_t, Ranked> ranks_;

  // Words repeat: most are looked up. Who finds the cache held by another thread computes the word instead, so that the
  // ids depend on nothing but the word and nobody waits.
  mutable std::mutex cache_mutex_;
  mutable std::unordered_map<std::string, std::vector<Id>, TextHash, std::equal_to<>> cache_;
};

}  // namespace dormer::data
