#include "dormer/data/tokenizer_identity.hpp"

#include <fstream>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"
#include "dormer/core/sha256.hpp"
#include "support/temp_directory.hpp"

namespace dormer::data {
namespace {

constexpr const char* kExample =
    R"({"model": {"vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}, "added_tokens": [{"id": 3, "content": "é", "special": true}]})";

// The example of docs/token_dataset.md, which the Python that prepares text computes alike.
TEST(TokenizerIdentity, IsTheDocumentedOne) {
  EXPECT_EQ(tokenizer_sha256(kExample, "here"), "6748a5fe1b830bffee757e5030642346a3e86cbe64b1bc7bb79856e3e88f417d");
}

TEST(TokenizerIdentity, DoesNotDependOnSpelling) {
  const std::string other =
      R"({"version": "9", "added_tokens": [{"special": true, "content": "\u00e9", "id": 3}],
          "model": {"merges": [["a", "b"]], "vocab": {"ab": 2, "b": 1, "a": 0}}})";
  EXPECT_EQ(tokenizer_sha256(other, "here"), tokenizer_sha256(kExample, "here"));
}

TEST(TokenizerIdentity, UnigramEntriesCarryTheirScore) {
  EXPECT_EQ(
      tokenizer_sha256(R"({"model": {"vocab": [["x", -1.5], ["y", 0]]}})", "here"),
      sha256_hex(
          "dormer.tokenizer/1\nvocabulary 2\n0 1:x bff8000000000000\n1 1:y 0000000000000000\nmerges 0\nadded 0\n"));
}

TEST(TokenizerIdentity, NamesAFileThatIsNone) {
  for (const char* text : {"{", "[]", "{}", R"({"model": {"vocab": {"a": "b"}}})", R"({"model": {"vocab": [1]}})"}) {
    try {
      static_cast<void>(tokenizer_sha256(text, "folder/tokenizer.json"));
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kInput);
      EXPECT_THAT(error.what(), ::testing::HasSubstr("folder/tokenizer.json"));
    }
  }
}

TEST(TokenizerIdentity, IdsAreThoseOfTokens) {
  const test::TempDirectory folder;
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  for (const std::string& text :
       {std::string(R"({"model": {"vocab": {"a": 9223372036854775807}}})"),
        std::string(R"({"model": {"vocab": {"a": 0.5}}})"), std::string(R"({"model": {"vocab": {"a": 1e300}}})"),
        std::string(R"({"model": {"vocab": {"a": -1}}})"),
        std::string(R"({"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 9223372036854775807, "content": "b"}]})"),
        R"({"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 1, "content": "b", "special": )" + deep + "}]}"}) {
    std::ofstream(folder.path() / "tokenizer.json") << text;
    for (const bool size : {false, true}) {
      try {
        size ? static_cast<void>(folder_tokenizer_size(folder.path()))
             : static_cast<void>(folder_tokenizer_sha256(folder.path()));
        ADD_FAILURE() << text.substr(0, 120);
      } catch (const Error& error) {
        EXPECT_EQ(error.fault(), Fault::kInput);
        EXPECT_THAT(error.what(), ::testing::HasSubstr("tokenizer.json"));
      }
    }
  }
}

}  // namespace
}  // namespace dormer::data
