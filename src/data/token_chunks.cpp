#include "dormer/data/token_chunks.hpp"

#include <algorithm>
#include <iterator>

#include "dormer/core/error.hpp"

namespace dormer::data {

TokenChunks chunk_tokens(std::span<const std::int64_t> ids, const ChunkRule& rule) {
  const std::int64_t piece = rule.row_length - 2;
  require(piece > 0 && rule.max_tokens > 0 && rule.max_tokens % piece == 0, Fault::kUsage,
          "a caption of {} tokens fills no whole rows of {}; choose a multiple of {}", rule.max_tokens, rule.row_length,
          std::max<std::int64_t>(piece, 1));
  TokenChunks chunks{.tokens = {}, .ends = {}, .rows = rule.max_tokens / piece, .dropped = 0};
  chunks.dropped = std::max<std::int64_t>(std::ssize(ids) - rule.max_tokens, 0);
  chunks.tokens.assign(static_cast<std::size_t>(chunks.rows * rule.row_length), rule.pad);
  for (std::int64_t row = 0; row < chunks.rows; ++row) {
    const std::int64_t from = std::min<std::int64_t>(row * piece, std::ssize(ids));
    const std::int64_t count = std::min<std::int64_t>(piece, std::ssize(ids) - from);
    const auto begin = chunks.tokens.begin() + row * rule.row_length;
    *begin = rule.begin;
    const auto end = std::copy_n(ids.begin() + from, count, begin + 1);
    *end = rule.end;
    chunks.ends.push_back(std::distance(begin, std::find(begin + 1, end, rule.end)));
  }
  return chunks;
}

}  // namespace dormer::data
