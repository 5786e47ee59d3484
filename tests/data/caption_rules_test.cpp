#include "dormer/data/caption_rules.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <gmock/gmock.h>

#include "dormer/config/read.hpp"

namespace dormer::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

constexpr int kDraws = 20'000;

RandomKey key_of(int visit) {
  return RandomKey{17}.child("captions").child(static_cast<std::uint64_t>(visit));
}

std::string one(const CaptionRules& rules, const std::string& caption, RandomKey key = key_of(0)) {
  return caption_for(rules, std::vector{caption}, key);
}

/// How often each text comes up in `kDraws` visits.
std::map<std::string, int> texts_of(const CaptionRules& rules, const std::vector<std::string>& captions) {
  std::map<std::string, int> counts;
  for (int visit = 0; visit < kDraws; ++visit) {
    ++counts[caption_for(rules, captions, key_of(visit))];
  }
  return counts;
}

std::vector<std::string> tags_of(const std::string& text) {
  std::vector<std::string> tags;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(", ", at), text.size());
    tags.push_back(text.substr(at, end - at));
    at = end + 2;
  }
  return tags;
}

/// Five standard deviations of a binomial count: what is right is beyond them less than once in a million.
void expect_share(int count, double share) {
  EXPECT_NEAR(count, kDraws * share, 5 * std::sqrt(kDraws * share * (1 - share)) + 1e-9);
}

TEST(CaptionRules, WithoutRulesTheTextStaysAsItIsWritten) {
  EXPECT_EQ(one({}, "A cat,sitting ,  on: a  mat. \n"), "A cat,sitting ,  on: a  mat.");
  EXPECT_EQ(caption_for({}, {}, key_of(0)), "");
}

TEST(CaptionRules, TheSameKeyGivesTheSameTextWhateverCameBefore) {
  const CaptionRules rules{.shuffle = true, .tag_dropout = {.rate = 0.3}, .dropout = 0.1};
  const std::string first = one(rules, "a, b, c, d, e, f", key_of(7));
  static_cast<void>(texts_of(rules, {"x, y"}));
  EXPECT_EQ(one(rules, "a, b, c, d, e, f", key_of(7)), first);
}

TEST(CaptionRules, EveryOrderComesUpAlike) {
  const auto counts = texts_of({.shuffle = true}, {"a, b,c ,d"});
  EXPECT_EQ(counts.size(), 24U);
  for (const auto& [text, count] : counts) {
    expect_share(count, 1.0 / 24);
  }
}

TEST(CaptionRules, TheFirstTagsStayWhereTheyAre) {
  const auto counts = texts_of({.shuffle = true, .keep_first = 2, .tag_dropout = {.rate = 0.5}}, {"a, b, c, d"});
  EXPECT_EQ(counts.size(), 1U + 2U + 2U);  // none, one or both of c and d
  for (const auto& [text, count] : counts) {
    EXPECT_THAT(text, StartsWith("a, b"));
    expect_share(count, text.size() == 10 ? 0.125 : 0.25);
  }
  EXPECT_EQ(one({.shuffle = true, .keep_first = 9}, "a, b"), "a, b");
}

TEST(CaptionRules, SeparatorsOfKeptTagsAreTakenOut) {
  const CaptionRules rules{.shuffle = true, .keep_first = 1, .keep_separator = "|||", .tag_dropout = {.rate = 0.5}};
  std::set<std::string> seen;
  for (const auto& [text, count] : texts_of(rules, {"a, b ||| c, d ||| y, z"})) {
    EXPECT_THAT(text, StartsWith("a, b, "));
    EXPECT_TRUE(text.ends_with(", y, z"));
    seen.insert(text);
  }
  EXPECT_EQ(seen.size(), 5U);
  EXPECT_EQ(one({.keep_separator = "|||"}, "a||| b, c|||"), "a, b, c");  // also without shuffle
  EXPECT_EQ(one({.keep_separator = "|||"}, "b,c"), "b,c");
}

TEST(CaptionRules, TagsAreDroppedAtTheirRate) {
  const CaptionRules rules{.tag_dropout = {.rate = 0.2, .protect = {"d"}}};
  std::map<std::string, int> kept;
  int both = 0;
  for (int visit = 0; visit < kDraws; ++visit) {
    const auto tags = tags_of(one(rules, "a, b, c, d", key_of(visit)));
    for (const std::string& tag : tags) {
      ++kept[tag];
    }
    both += static_cast<int>(std::ssize(tags) == 4);
    EXPECT_TRUE(std::is_sorted(tags.begin(), tags.end()));
  }
  for (const char* tag : {"a", "b", "c"}) {
    expect_share(kept[tag], 0.8);
  }
  EXPECT_EQ(kept["d"], kDraws);
  expect_share(both, 0.8 * 0.8 * 0.8);  // each by itself
}

TEST(CaptionRules, TagsMayBeDroppedTogetherOrTheMoreTheLaterTheyCome) {
  const auto together =
      texts_of({.keep_first = 1, .tag_dropout = {.rate = 0.3, .mode = "all", .protect = {"d"}}}, {"a, b, c, d"});
  EXPECT_EQ(together.size(), 2U);
  expect_share(together.at("a, d"), 0.3);
  std::map<std::string, int> kept;
  for (int visit = 0; visit < kDraws; ++visit) {
    const std::string text =
        one({.keep_first = 1, .tag_dropout = {.rate = 0.6, .mode = "rising"}}, "x, a, b, c", key_of(visit));
    for (const std::string& tag : tags_of(text)) {
      ++kept[tag];
    }
  }
  EXPECT_EQ(kept["x"], kDraws);
  expect_share(kept["a"], 0.8);
  expect_share(kept["b"], 0.6);
  expect_share(kept["c"], 0.4);
}

TEST(CaptionRules, DroppedCaptionsAreEmptyWithAllTheirAdditions) {
  const auto counts = texts_of({.dropout = 0.1, .trigger = "sks", .prefix = "photo:", .suffix = "end"}, {"a"});
  EXPECT_EQ(counts.size(), 2U);
  expect_share(counts.at(""), 0.1);
  EXPECT_EQ(texts_of({.dropout = 1.0}, {"a"}).at(""), kDraws);
}

TEST(CaptionRules, OneOfSeveralCaptionsIsChosen) {
  const std::vector<std::string> captions{"a", "b", "c"};
  const auto counts = texts_of({}, captions);
  for (const std::string& caption : captions) {
    expect_share(counts.at(caption), 1.0 / 3);
  }
  EXPECT_EQ(texts_of({.choose = "first"}, captions).at("a"), kDraws);
}

TEST(CaptionRules, ARuleDoesNotChangeWhatAnotherDraws) {
  const std::string caption = "a, b, c, d, e, f, g, h";
  for (int visit = 0; visit < 200; ++visit) {
    auto dropped = tags_of(one({.tag_dropout = {.rate = 0.4}}, caption, key_of(visit)));
    auto both = tags_of(one({.shuffle = true, .tag_dropout = {.rate = 0.4}}, caption, key_of(visit)));
    std::sort(both.begin(), both.end());
    EXPECT_EQ(dropped, both);
  }
}

TEST(CaptionRules, TheTriggerIsPutWhereItBelongs) {
  const CaptionRules rules{.shuffle = true, .tag_dropout = {.rate = 1.0}, .trigger = "sks dog"};
  EXPECT_EQ(one({.trigger = "sks dog"}, "A photo of [trigger], [trigger]!"), "A photo of sks dog, sks dog!");
  EXPECT_EQ(one({.trigger = "sks"}, "a cat"), "sks, a cat");
  EXPECT_EQ(one({.trigger = "sks"}, "a (sks) cat"), "a (sks) cat");
  EXPECT_EQ(one({.trigger = "cat"}, "cats, bobcat, cat_ears"),
            "cat, cats, bobcat, cat_ears");  // parts of words are others
  EXPECT_EQ(one({.trigger = "sks"}, ""), "sks");
  EXPECT_EQ(one(rules, "a, the sks dog, b"), "the sks dog");  // never dropped
  EXPECT_EQ(one(rules, "a, [trigger] x"), "sks dog x");
  EXPECT_EQ(one({.trigger = "[trigger]"}, "[trigger]"), "[trigger]");
}

TEST(CaptionRules, PrefixAndSuffixStandOutsideOfTheTags) {
  for (int visit = 0; visit < 100; ++visit) {
    const std::string text =
        one({.shuffle = true, .trigger = "sks", .prefix = "p, q,", .suffix = "in ink"}, "a, b", key_of(visit));
    EXPECT_THAT(text, testing::AnyOf("p, q, sks, a, b in ink", "p, q, sks, b, a in ink"));
  }
  EXPECT_EQ(one({.prefix = "p", .suffix = "s"}, ""), "p s");
}

TEST(CaptionRules, SeparatorsMayBeOthers) {
  EXPECT_EQ(one({.separator = ".", .shuffle = true, .keep_first = 2}, "One. Two."), "One. Two");
  EXPECT_EQ(one({.separator = " ", .tag_dropout = {.rate = 1.0, .protect = {"b"}}}, "a  b c b"), "b b");
  EXPECT_EQ(one({.separator = "", .shuffle = true}, "a, b"), "a, b");
}

TEST(CaptionRules, AreReadFromAConfiguration) {
  const auto rules = config::load<CaptionRules>(
      {.name = "c.yaml",
       .text =
           "{shuffle: true, keep_first: 1, tag_dropout: {rate: 0.1, mode: rising, protect: [a, b]}, trigger: sks}"});
  EXPECT_TRUE(rules.shuffle);
  EXPECT_EQ(rules.keep_first, 1);
  EXPECT_EQ(rules.tag_dropout.mode, "rising");
  EXPECT_THAT(rules.tag_dropout.protect, ElementsAre("a", "b"));
  EXPECT_EQ(rules.trigger, "sks");
  EXPECT_ANY_THROW(static_cast<void>(config::load<CaptionRules>({.name = "c.yaml", .text = "{dropout: 1.5}"})));
}

}  // namespace
}  // namespace dormer::data
