#include "dormer/data/token_chunks.hpp"

#include <numeric>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"

namespace dormer::data {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using Ids = std::vector<std::int64_t>;

constexpr std::int64_t kBegin = 1000;
constexpr std::int64_t kEnd = 1001;

ChunkRule small_rule(std::int64_t max_tokens, std::int64_t pad) {
  return {.max_tokens = max_tokens, .row_length = 5, .begin = kBegin, .end = kEnd, .pad = pad};
}

Ids counted(std::int64_t count) {
  Ids ids(static_cast<std::size_t>(count));
  std::iota(ids.begin(), ids.end(), 1);
  return ids;
}

TEST(TokenChunks, ACaptionIsBeginTokensEndAndPadding) {
  const TokenChunks chunks = chunk_tokens(Ids{7, 8}, small_rule(3, 0));
  EXPECT_THAT(chunks.tokens, ElementsAre(kBegin, 7, 8, kEnd, 0));
  EXPECT_THAT(chunks.ends, ElementsAre(3));
  EXPECT_EQ(chunks.rows, 1);
  EXPECT_EQ(chunks.dropped, 0);
}

TEST(TokenChunks, AnEmptyCaptionIsBeginAndEnd) {
  EXPECT_THAT(chunk_tokens({}, small_rule(3, kEnd)).tokens, ElementsAre(kBegin, kEnd, kEnd, kEnd, kEnd));
  EXPECT_THAT(chunk_tokens({}, small_rule(3, kEnd)).ends, ElementsAre(1));
}

TEST(TokenChunks, LongCaptionsFillRowAfterRow) {
  const TokenChunks chunks = chunk_tokens(Ids{1, 2, 3, 4}, small_rule(9, 0));
  EXPECT_THAT(chunks.tokens,
              ElementsAreArray<std::int64_t>({kBegin, 1, 2, 3, kEnd, kBegin, 4, kEnd, 0, 0, kBegin, kEnd, 0, 0, 0}));
  EXPECT_THAT(chunks.ends, ElementsAre(4, 2, 1));
  EXPECT_EQ(chunks.rows, 3);
}

TEST(TokenChunks, ARowThatIsFullLeavesTheNextOneEmpty) {
  EXPECT_THAT(chunk_tokens(Ids{1, 2, 3}, small_rule(6, 0)).tokens,
              ElementsAre(kBegin, 1, 2, 3, kEnd, kBegin, kEnd, 0, 0, 0));
}

TEST(TokenChunks, WhatIsTooLongIsCounted) {
  const TokenChunks chunks = chunk_tokens(counted(8), small_rule(6, 0));
  EXPECT_THAT(chunks.tokens, ElementsAre(kBegin, 1, 2, 3, kEnd, kBegin, 4, 5, 6, kEnd));
  EXPECT_EQ(chunks.dropped, 2);
}

TEST(TokenChunks, AnEndInTheTextIsWhereItsRowIsPooled) {
  EXPECT_THAT(chunk_tokens(Ids{7, kEnd, 8, 9}, small_rule(6, 0)).ends, ElementsAre(2, 2));
}

TEST(TokenChunks, ClipsRowsHoldSeventyFiveTokens) {
  for (const std::int64_t most : {75, 150, 225}) {
    for (const std::int64_t count : {0, 74, 75, 76, 150, 225, 300}) {
      const ChunkRule rule{.max_tokens = most, .begin = kBegin, .end = kEnd, .pad = 0};
      const TokenChunks chunks = chunk_tokens(counted(count), rule);
      EXPECT_EQ(chunks.rows, most / 75);
      EXPECT_EQ(std::ssize(chunks.tokens), chunks.rows * 77);
      EXPECT_EQ(chunks.dropped, std::max<std::int64_t>(0, count - most));
      Ids read;
      for (std::int64_t row = 0; row < chunks.rows; ++row) {
        const auto begin = chunks.tokens.begin() + row * 77;
        EXPECT_EQ(*begin, kBegin);
        EXPECT_EQ(begin[chunks.ends[static_cast<std::size_t>(row)]], kEnd);
        read.insert(read.end(), begin + 1, begin + chunks.ends[static_cast<std::size_t>(row)]);
      }
      EXPECT_EQ(read, counted(std::min(count, most)));
    }
  }
}

TEST(TokenChunks, RulesThatGiveNoWholeRowsAreRefused) {
  for (const std::int64_t most : {0, 1, 4, -3}) {
    EXPECT_THROW(static_cast<void>(chunk_tokens({}, small_rule(most, 0))), Error) << most;
  }
  EXPECT_THROW(static_cast<void>(chunk_tokens({}, {.row_length = 2})), Error);
}

}  // namespace
}  // namespace dormer::data
