#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace dormer::data {

/// How a caption's tokens are laid into rows of a text encoder. A row is begin, up to `row_length - 2` tokens, end,
/// padding.
struct ChunkRule {
  std::int64_t max_tokens = 75;  ///< tokens of a caption, without begin and end: a multiple of row_length - 2
  std::int64_t row_length = 77;  ///< positions of the text encoder
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t pad = 0;
};

struct TokenChunks {
  std::vector<std::int64_t> tokens;  ///< [rows, row_length], row by row
  std::vector<std::int64_t> ends;    ///< [rows]: position of each row's first end token, where CLIP's text is pooled
  std::int64_t rows = 0;             ///< max_tokens / (row_length - 2), however short the caption: batches stay regular
  std::int64_t dropped = 0;          ///< tokens of the caption beyond max_tokens
};

/// Lays tokens out as kohya's trainer does (`max_token_length` 75, 150 or 225): pieces of row_length - 2, one after the
/// other; rows that nothing is left for are those of an empty caption. Pure. Throws a usage error for a rule that gives
/// no whole rows.
[[nodiscard]] TokenChunks chunk_tokens(std::span<const std::int64_t> ids, const ChunkRule& rule);

}  // namespace dormer::data
