#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

namespace dormer::data {

/// The byte-level BPE of CLIP's text encoders (Radford et al. 2021, "Learning transferable visual models from natural
/// language supervision"; merges by Sennrich et al. 2016): token for token that of `CLIPTokenizer` in transformers 5,
/// where it and `CLIPTokenizerFast` are one class. Text goes through four steps:
///   1. added tokens that are not normalized are cut out as they stand (leftmost first, then longest);
///   2. the rest is composed (NFC), every run of white space becomes one blank, and letters become small one by one:
///      Σ is σ at a word's end, too, and İ is i with a dot above; nothing is unescaped or repaired (no HTML, no ftfy);
///   3. added tokens that are normalized are cut out;
///   4. what remains is words ('s 't 're 've 'm 'll 'd, letters, single digits, runs of anything else), whose bytes are
///      merged by rank.
/// Which characters are letters, digits or composed is what the utf8proc that the program is linked with knows.
class ClipTokenizer {
 public:
  /// Reads the `tokenizer` folder of a diffusers model: vocabulary and merges from tokenizer.json or, where there is
  /// none, from vocab.json and merges.txt; special tokens from tokenizer_config.json, special_tokens_map.json and
  /// added_tokens.json, where they are there. A special token that the vocabulary has becomes an added token (that is
  /// how "!", the padding of SDXL's second tokenizer, is cut out of words). Throws input errors that name the file.
  [[nodiscard]] static ClipTokenizer open(const std::filesystem::path& folder);

  ClipTokenizer(ClipTokenizer&&) noexcept;
  ClipTokenizer& operator=(ClipTokenizer&&) noexcept;
  ~ClipTokenizer();

  /// The ids of `text`, however many, without begin, end and padding (data::chunk_tokens adds them). Throws an input
  /// error for text that is not well-formed UTF-8: what would stand in its place was never in the caption. May be
  /// called from several threads.
  [[nodiscard]] std::vector<std::int64_t> encode(std::string_view text) const;

  [[nodiscard]] std::int64_t begin_token() const;
  [[nodiscard]] std::int64_t end_token() const;
  [[nodiscard]] std::int64_t pad_token() const;
  /// Positions of the text encoder as tokenizer_config.json says them, begin and end included; 77 where it says
  /// nothing.
  [[nodiscard]] std::int64_t maximum_length() const;
  /// One more than the largest id, added tokens included: rows that an embedding needs.
  [[nodiscard]] std::int64_t size() const;

 private:
  struct Parts;
  explicit ClipTokenizer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace dormer::data
