#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace dormer::data {

/// Lets maps of strings be searched with views.
struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>{}(text); }
};

using TokenIds = std::unordered_map<std::string, std::int64_t, TextHash, std::equal_to<>>;

struct Merge {
  std::string left;
  std::string right;
};

/// Tokens and merges of a byte-level BPE, in the spelling of its files: one printable character for each byte.
struct ClipVocabulary {
  std::string ids_file;       ///< where `ids` stand, for messages
  std::string merges_file;    ///< where `merges` stand
  TokenIds ids;               ///< each id once, in [0, 2^31)
  std::vector<Merge> merges;  ///< by rank; of a pair that is there twice the last counts
};

/// A token for messages: in quotes and on one line, whatever it holds.
[[nodiscard]] std::string quoted_token(std::string_view token);

/// The text of a vocab.json. `where` names it in errors.
[[nodiscard]] TokenIds parse_vocabulary(std::string_view json, const std::string& where);
/// The text of a merges.txt: "#version" and then "LEFT RIGHT", a line each.
[[nodiscard]] std::vector<Merge> parse_merges(std::string_view text, const std::string& where);
/// The text of a tokenizer.json with a BPE model.
[[nodiscard]] ClipVocabulary parse_tokenizer_json(std::string_view json, const std::string& where);

/// From tokenizer.json or, where there is none, vocab.json and merges.txt of the folder. Throws input errors that name
/// the file.
[[nodiscard]] ClipVocabulary read_clip_vocabulary(const std::filesystem::path& folder);

}  // namespace dormer::data
