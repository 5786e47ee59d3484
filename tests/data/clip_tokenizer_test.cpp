#include "dormer/data/clip_tokenizer.hpp"

#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "data/small_vocabulary.hpp"
#include "dormer/core/error.hpp"
#include "support/temp_directory.hpp"

namespace dormer::data {
namespace {

using test::inner;
using test::last;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using Ids = std::vector<std::int64_t>;

class ClipTokenizerTest : public testing::Test {
 protected:
  ClipTokenizerTest() { test::write_small_vocabulary(folder_.path()); }

  void write(const std::string& file, const std::string& text) const {
    std::ofstream(folder_.path() / file, std::ios::binary) << text;
  }
  [[nodiscard]] ClipTokenizer open() const { return ClipTokenizer::open(folder_.path()); }
  [[nodiscard]] Ids encode(std::string_view text) const { return open().encode(text); }

  /// Opening fails with one line that names the file and `reason`.
  void expect_refused(const std::string& file, const std::string& reason) const {
    try {
      static_cast<void>(open());
      ADD_FAILURE() << file << " was accepted, though: " << reason;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kInput);
      EXPECT_THAT(error.what(),
                  AllOf(HasSubstr((folder_.path() / file).string()), HasSubstr(reason), Not(HasSubstr("\n"))));
    }
  }

  test::TempDirectory folder_;
};

TEST_F(ClipTokenizerTest, WordsAreMergedByRankThenFromTheLeft) {
  EXPECT_THAT(encode("the photo of cat"), ElementsAre(520, 515, 518, 517));
  EXPECT_THAT(encode("cats"), ElementsAre(516, inner('t'), last('s')));  // "cat" ends no word here
  EXPECT_THAT(encode("abc"), ElementsAre(527, last('c')));               // "a b" ranks before "b c"
  EXPECT_THAT(encode("aaaa"), ElementsAre(529, inner('a'), last('a')));  // the first two, not those in the middle
  EXPECT_THAT(encode("a"), ElementsAre(last('a')));
}

TEST_F(ClipTokenizerTest, TextIsComposedAndMadeSmall) {
  EXPECT_THAT(encode("CAFÉ"), ElementsAre(526));
  EXPECT_THAT(encode("Cafe\u0301"), ElementsAre(526));
  EXPECT_THAT(encode("éÉ"), ElementsAre(524, 523));
  EXPECT_EQ(encode("ΟΣ"), encode("οσ"));         // no final sigma
  EXPECT_EQ(encode("Xİ"), encode("xi\u0307"));   // a letter of two code points, and the dot is a sign
  EXPECT_EQ(encode("ẞ \u212B"), encode("ß å"));  // the Angstrom sign is composed first
}

TEST_F(ClipTokenizerTest, WhiteSpaceOfEverySortSeparatesAndNothingElseDoes) {
  const Ids two{517, 517};
  for (const char* space :
       {" ", "\t\n ", "\u00A0", "\u0085", "\u1680", "\u2003", "\u2028", "\u202F", "\u205F", "\u3000"}) {
    EXPECT_EQ(encode(std::string("cat") + space + "cat"), two) << space;
    EXPECT_EQ(encode(std::string(space) + "cat" + space), Ids{517}) << space;
  }
  for (const char* sign : {"\u200B", "\u180E", "\uFEFF", "\x1F", "\u2060"}) {  // these are signs, words of their own
    EXPECT_GT(encode(std::string("cat") + sign + "cat").size(), 2U) << sign;
  }
  EXPECT_THAT(encode(""), ElementsAre());
  EXPECT_THAT(encode(" \n "), ElementsAre());
}

TEST_F(ClipTokenizerTest, DigitsStandAloneAndContractionsEndWords) {
  EXPECT_THAT(encode("42"), ElementsAre(last('4'), last('2')));
  EXPECT_THAT(encode("cat's"), ElementsAre(517, 521));
  EXPECT_THAT(encode("CAT'S"), ElementsAre(517, 521));
  EXPECT_THAT(encode("cat!!"), ElementsAre(517, 522));
  EXPECT_THAT(encode("'ll''s"), ElementsAre(inner('\''), inner('l'), last('l'), inner('\''), last('\''), last('s')));
  EXPECT_THAT(encode("!cat"), ElementsAre(last('!'), 517));
}

TEST_F(ClipTokenizerTest, EndAndBeginAreKnownInAText) {
  EXPECT_THAT(encode("cat<|endoftext|>cat"), ElementsAre(517, test::kSmallEnd, 517));
  // Written large they are no tokens where they are not normalized, which they are not by themselves: three words.
  EXPECT_EQ(encode("<|ENDOFTEXT|>!"), encode("<| endoftext |> !"));
  write("special_tokens_map.json", R"({"eos_token": {"content": "<|endoftext|>", "normalized": true},
                                       "unk_token": {"content": "<|endoftext|>", "normalized": true},
                                       "pad_token": {"content": "<|endoftext|>", "normalized": true}})");
  EXPECT_THAT(encode("<|ENDOFTEXT|>!"), ElementsAre(test::kSmallEnd, last('!')));
}

TEST_F(ClipTokenizerTest, TheFolderSaysSpecialTokensAndTheLength) {
  const ClipTokenizer bare = open();
  EXPECT_THAT((std::vector{bare.begin_token(), bare.end_token(), bare.pad_token(), bare.maximum_length(), bare.size()}),
              ElementsAre(test::kSmallBegin, test::kSmallEnd, test::kSmallEnd, 77, 532));
  write(
      "tokenizer_config.json",
      R"({"model_max_length": 248, "pad_token": "!", "additional_special_tokens": ["<toy>"], "add_bos_token": true})");
  const ClipTokenizer told = open();
  EXPECT_THAT((std::vector{told.pad_token(), told.maximum_length(), told.size()}), ElementsAre(0, 248, 533));
  EXPECT_THAT(told.encode("cat!!<toy>"), ElementsAre(517, 0, 0, 532));  // "!" is cut out, alone and with its own id
}

TEST_F(ClipTokenizerTest, OfTokensThatBeginAtOnePlaceTheLongestIsTaken) {
  write("tokenizer_config.json", R"({"additional_special_tokens": ["<toy>", "<toy>s", "t"]})");
  EXPECT_THAT(encode("<toy>s<toy> the"), ElementsAre(533, 532, inner('t'), inner('h'), last('e')));
}

TEST_F(ClipTokenizerTest, TokenizerJsonIsEnough) {
  const Ids expected = encode("a photo of café's 7 cats!!");
  nlohmann::json merges = nlohmann::json::array();
  for (const std::string& merge : test::kSmallMerges) {
    const std::size_t blank = merge.find(' ');
    merges.push_back({merge.substr(0, blank), merge.substr(blank + 1)});
  }
  for (const nlohmann::json& form : {merges, nlohmann::json(test::kSmallMerges)}) {
    write("tokenizer.json", nlohmann::json{{"model", {{"vocab", test::small_ids()}, {"merges", form}}}}.dump());
    std::filesystem::remove(folder_.path() / "vocab.json");
    std::filesystem::remove(folder_.path() / "merges.txt");
    EXPECT_EQ(encode("a photo of café's 7 cats!!"), expected);
  }
}

TEST_F(ClipTokenizerTest, TextThatIsNoUtf8IsRefusedWithItsPlace) {
  const ClipTokenizer tokenizer = open();
  for (const char* bad : {"caf\xE9 au lait", "caf\xC0\xAF", "caf\xED\xA0\x80", "caf\xF4\x90\x80\x80", "caf\xE2\x82"}) {
    try {
      static_cast<void>(tokenizer.encode(bad));
      ADD_FAILURE() << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kInput);
      EXPECT_THAT(error.what(), HasSubstr("byte 3 on"));
    }
  }
}

TEST_F(ClipTokenizerTest, WhatWasSeenBeforeAndByWhomChangesNothing) {
  const ClipTokenizer tokenizer = open();
  const auto word = [](int number) {
    std::string text = "w";
    for (; number > 0; number /= 16) {
      text += "gijklmnqrsuvwxyz"[number % 16];  // of no merge
    }
    return text;
  };
  const Ids expected = tokenizer.encode("the abc photo cats");
  const auto read = [&] {
    for (int i = 0; i < 40'000; ++i) {  // more words than are kept
      ASSERT_EQ(tokenizer.encode(word(i)).back(), last(word(i).back()));
    }
  };
  std::thread other(read);
  read();
  other.join();
  EXPECT_EQ(tokenizer.encode("the abc photo cats"), expected);
}

TEST_F(ClipTokenizerTest, AWordMayBeAsLongAsAFile) {
  const Ids ids = encode(std::string(1'000'000, 'a'));  // minutes, if the time grew with the square
  EXPECT_EQ(ids.size(), 500'001U);
  EXPECT_EQ(ids.front(), 529);
}

TEST_F(ClipTokenizerTest, BrokenFilesAreNamed) {
  const std::string good = test::small_ids().dump();
  for (const auto& [text, reason] : std::vector<std::pair<std::string, std::string>>{
           {"{", "no JSON"},
           {"[]", "no map"},
           {"{}", "no map"},
           {R"({"a\nb": -1})", R"("a\nb")"},
           {R"({"a": 2147483648})", "no whole number"},
           {R"({"a": 0.5})", "no whole number"},
           {R"({"a": 0, "b": 0})", "two tokens have the id 0"},
           {R"({"<|startoftext|>": 0, "<|endoftext|>": 1})", "merge 1 of 18"},
           {R"({"a": 0})", "no token \"<|startoftext|>\""},
           {std::string(100'000, '['), "nests deeper"}}) {
    write("vocab.json", text);
    expect_refused(text.find("endoftext") == std::string::npos ? "vocab.json" : "merges.txt", reason);
  }
  write("vocab.json", good);
  for (const auto& [text, reason] :
       std::vector<std::pair<std::string, std::string>>{{"p h\nph", "merges.txt:2: a merge is two tokens"},
                                                        {"p h \n", "merges.txt:1:"},
                                                        {"p h\n\nph o", "merges.txt:2:"},
                                                        {" ph\n", "merges.txt:1:"},
                                                        {"z z\n", "merge 1 of 1 has a token that is not in"}}) {
    write("merges.txt", text);
    expect_refused("merges.txt", reason);
  }
  std::filesystem::remove(folder_.path() / "merges.txt");
  expect_refused("merges.txt", "is missing");
}

TEST_F(ClipTokenizerTest, BrokenSettingsAreNamed) {
  for (const auto& [text, reason] : std::vector<std::pair<std::string, std::string>>{
           {"{", "no JSON"},
           {"[]", "no JSON object"},
           {R"({"bos_token": {"lstrip": false}})", "\"bos_token\" is no token"},
           {R"({"pad_token": {"content": "x", "rstrip": true}})", "\"pad_token\" has rstrip"},
           {R"({"pad_token": ""})", "is empty"},
           {R"({"bos_token": "<s>"})", "no token \"<s>\", the bos_token"},
           {R"({"model_max_length": "77"})", "model_max_length is no number"},
           {R"({"model_max_length": 2})", "leaves no room"},
           {R"({"split_special_tokens": true})", "split_special_tokens"},
           {R"({"added_tokens_decoder": {"x": {"content": "a"}}})", "no map of ids"},
           {R"({"added_tokens_decoder": []})", "no map"}}) {
    write("tokenizer_config.json", text);
    expect_refused("tokenizer_config.json", reason);
  }
  std::filesystem::remove(folder_.path() / "tokenizer_config.json");
  write("added_tokens.json", R"({"<toy>": "many"})");
  expect_refused("added_tokens.json", "no whole number");
  std::filesystem::remove(folder_.path() / "added_tokens.json");
  write("tokenizer.json", R"({"model": {"vocab": {}}})");
  expect_refused("tokenizer.json", "no byte-pair vocabulary");
}

}  // namespace
}  // namespace dormer::data
