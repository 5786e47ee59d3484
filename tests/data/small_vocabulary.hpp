#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "data/byte_pair_encoder.hpp"

namespace dormer::test {

/// The merges of the vocabulary below; the result of merge k has the id 512 + k, as in CLIP's own.
inline const std::vector<std::string> kSmallMerges{
    "p h",     "ph o",     "pho t", "phot o</w>",  // 515: photo
    "c a",     "ca t</w>",                         // 517: cat
    "o f</w>",                                     // 518: of
    "t h",     "th e</w>",                         // 520: the
    "' s</w>", "! !</w>",                          // 521 and 522
    "Ã ©</w>", "Ã ©",      "ca f",  "caf Ã©</w>",  // 523: é at the end, 524: é, 526: café
    "a b",     "b c</w>",  "a a",                  // 527 to 529
};
constexpr std::int64_t kSmallBegin = 530;
constexpr std::int64_t kSmallEnd = 531;

/// Ids of an ASCII sign inside of a word, and at its end.
constexpr std::int64_t inner(char sign) {
  return sign - '!';
}
constexpr std::int64_t last(char sign) {
  return 256 + inner(sign);
}

inline nlohmann::json small_ids() {
  std::vector<std::string> symbols;
  std::vector<std::string> others;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
    (printable ? symbols : others).push_back(data::BytePairEncoder::spelling(static_cast<unsigned char>(byte)));
  }
  symbols.insert(symbols.end(), others.begin(), others.end());
  nlohmann::json ids;
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    ids[symbols[i]] = i;
    ids[symbols[i] + "</w>"] = 256 + i;
  }
  for (std::size_t i = 0; i < kSmallMerges.size(); ++i) {
    const std::size_t blank = kSmallMerges[i].find(' ');
    ids[kSmallMerges[i].substr(0, blank) + kSmallMerges[i].substr(blank + 1)] = 512 + i;
  }
  ids["<|startoftext|>"] = kSmallBegin;
  ids["<|endoftext|>"] = kSmallEnd;
  return ids;
}

/// Writes vocab.json and merges.txt.
inline void write_small_vocabulary(const std::filesystem::path& folder) {
  std::ofstream(folder / "vocab.json") << small_ids();
  std::ofstream merges(folder / "merges.txt");
  merges << "#version: 0.2\n";
  for (const std::string& merge : kSmallMerges) {
    merges << merge << "\n";
  }
}

}  // namespace dormer::test
