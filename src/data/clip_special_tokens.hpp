#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/clip_vocabulary.hpp"

namespace dormer::data {

/// A token that is cut out of the text before words are.
struct AddedToken {
  std::string content;
  std::int64_t id = 0;
  bool normalized = false;  ///< sought after normalization, in its own normalized form
};

struct SpecialTokens {
  std::vector<AddedToken> added;  ///< each content once
  std::string unknown;
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t pad = 0;
  std::int64_t maximum_length = 77;
};

/// What tokenizer_config.json, special_tokens_map.json, added_tokens.json and tokenizer.json of the folder say, each
/// where it is there, as transformers 5 puts it together: the first that lists added tokens (`added_tokens_decoder`)
/// settles them; else the map overrides the configuration. Later definitions of one content override earlier ones.
/// Tokens that the vocabulary has not are numbered after it. Throws input errors that name the file.
[[nodiscard]] SpecialTokens read_special_tokens(const std::filesystem::path& folder, const ClipVocabulary& vocabulary);

}  // namespace dormer::data
