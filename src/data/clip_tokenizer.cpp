#include "dormer/data/clip_tokenizer.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "data/byte_pair_encoder.hpp"
#include "data/clip_special_tokens.hpp"
#include "data/clip_text.hpp"
#include "data/clip_vocabulary.hpp"
#include "data/literal_search.hpp"

namespace dormer::data {
namespace {

LiteralSearch search_of(const std::vector<AddedToken>& tokens, bool normalized) {
  std::vector<LiteralSearch::Literal> literals;
  for (const AddedToken& token : tokens) {
    if (token.normalized == normalized) {
      literals.push_back({normalized ? normalize_caption(token.content) : token.content, token.id});
    }
  }
  return LiteralSearch(std::move(literals));
}

/// Calls `each` for what lies between the literals, and appends their ids in between.
template <typename Each>
void around(const LiteralSearch& search, std::string_view text, std::vector<std::int64_t>& ids, const Each& each) {
  std::size_t at = 0;
  while (const auto found = search.next(text, at)) {
    each(text.substr(at, found->begin - at));
    ids.push_back(found->id);
    at = found->end;
  }
  each(text.substr(at));
}

std::int64_t size_of(const ClipVocabulary& vocabulary, const SpecialTokens& special) {
  std::int64_t size = 0;
  for (const auto& [token, id] : vocabulary.ids) {
    size = std::max(size, id + 1);
  }
  for (const AddedToken& token : special.added) {
    size = std::max(size, token.id + 1);
  }
  return size;
}

}  // namespace

struct ClipTokenizer::Parts {
  SpecialTokens special;
  LiteralSearch raw;
  LiteralSearch normalized;
  BytePairEncoder encoder;
  std::int64_t size;

  Parts(const ClipVocabulary& vocabulary, SpecialTokens tokens)
      : special(std::move(tokens)),
        raw(search_of(special.added, false)),
        normalized(search_of(special.added, true)),
        encoder(vocabulary, special.unknown),
        size(size_of(vocabulary, special)) {}
};

ClipTokenizer::ClipTokenizer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
ClipTokenizer::ClipTokenizer(ClipTokenizer&&) noexcept = default;
ClipTokenizer& ClipTokenizer::operator=(ClipTokenizer&&) noexcept = default;
ClipTokenizer::~ClipTokenizer() = default;

ClipTokenizer ClipTokenizer::open(const std::filesystem::path& folder) {
  const ClipVocabulary vocabulary = read_clip_vocabulary(folder);
  return ClipTokenizer(std::make_unique<Parts>(vocabulary, read_special_tokens(folder, vocabulary)));
}

std::vector<std::int64_t> ClipTokenizer::encode(std::string_view text) const {
  require_utf8(text);
  std::vector<std::int64_t> ids;
  around(parts_->raw, text, ids, [&](std::string_view piece) {
    const std::string normalized = normalize_caption(piece);
    around(parts_->normalized, normalized, ids, [&](std::string_view rest) {
      for (const std::string_view word : split_words(rest)) {
        parts_->encoder.append(word, ids);
      }
    });
  });
  return ids;
}

std::int64_t ClipTokenizer::begin_token() const {
  return parts_->special.begin;
}

std::int64_t ClipTokenizer::end_token() const {
  return parts_->special.end;
}

std::int64_t ClipTokenizer::pad_token() const {
  return parts_->special.pad;
}

std::int64_t ClipTokenizer::maximum_length() const {
  return parts_->special.maximum_length;
}

std::int64_t ClipTokenizer::size() const {
  return parts_->size;
}

}  // namespace dormer::data
