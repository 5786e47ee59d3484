#include "dormer/config/tree.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "config/sample_config.hpp"
#include "dormer/config/write.hpp"
#include "dormer/core/error.hpp"

namespace dormer::config {
namespace {

using testing::ElementsAre;

Document parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return Document::parse({.name = "a.yaml", .text = text, .overrides = overrides});
}

/// What reading a document as a `SampleConfig` finds: "line path: text", an override's with its index in brackets.
std::vector<std::string> mistakes_of(const Document& document, SampleConfig& config) {
  SampleConfig sample;
  std::vector<std::string> result;
  for (const Mistake& mistake : find_mistakes(document, {.target = [&](Visitor& visitor) { config.describe(visitor); },
                                                        .sample = [&](Visitor& visitor) { sample.describe(visitor); },
                                                        .rules = [] { return std::vector<std::string>{}; }})) {
    const Place place = mistake.place;
    const std::string where =
        place.override_index < 0 ? std::to_string(place.line) : "[" + std::to_string(place.override_index) + "]";
    result.push_back(where + " " + mistake.path + ": " + mistake.text);
  }
  return result;
}

std::vector<std::string> mistakes_of(const Document& document) {
  SampleConfig config;
  return mistakes_of(document, config);
}

TEST(Document, IsReadOftenAndChangedInCopies) {
  const Document document = parse("training: {steps: 3}\nname: a\n", {"name=b"});
  Document longer = document;
  longer.set("training.steps=9");
  longer.set("name=null");
  SampleConfig config;
  EXPECT_THAT(mistakes_of(longer, config), ElementsAre());
  EXPECT_EQ(config.training.steps, 9);
  EXPECT_EQ(config.name, "run");
  config = SampleConfig{};
  EXPECT_THAT(mistakes_of(document, config), ElementsAre());
  EXPECT_EQ(config.training.steps, 3);
  EXPECT_EQ(config.name, "b");
}

TEST(Document, NamesTheOverrideThatAMistakeCameFrom) {
  Document document = parse("training: {steps: 3}\n", {"name=b"});
  document.set("training.steps=no");
  EXPECT_THAT(mistakes_of(document), ElementsAre("[1] training.steps: 'no' is not a whole number"));
}

TEST(Document, LeavesTheLinesOfTheRestWhenAGroupIsTakenOut) {
  Document document = parse("extra:\n  a.b: [1,\n    {c: d}]\ntraining:\n  steps: 0\n  stepz: 1\n");
  const std::optional<Member> extra = document.take("extra");
  ASSERT_TRUE(extra.has_value());
  EXPECT_EQ(extra->place.line, 1);
  ASSERT_EQ(extra->value.members.size(), 1U);
  const Member& member = extra->value.members.front();
  EXPECT_EQ(member.key, "a.b");
  EXPECT_EQ(member.place.line, 2);
  EXPECT_EQ(member.value.items.at(1).place.line, 3);
  EXPECT_EQ(member.value.items.at(1).members.at(0).value.text, "d");
  EXPECT_FALSE(document.take("extra").has_value());
  EXPECT_THAT(mistakes_of(document), ElementsAre("5 training.steps: must be at least 1, is 0",
                                                 "6 training.stepz: unknown key; did you mean 'steps'?"));
}

TEST(Refuse, TellsTheFilesMistakesInTheOrderOfLinesAndThenThoseOfOverrides) {
  const Document document = parse("name: a\n", {"x=1", "y=2"});
  EXPECT_NO_THROW(refuse(document, {}));
  try {
    refuse(document,
           {{{.line = 1, .override_index = 1}, "y", "late"}, {{.line = 7}, "b", "second"}, {{.line = 2}, "", "first"}});
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kUsage);
    EXPECT_STREQ(error.what(), "a.yaml:2: first\na.yaml:7: b: second\n--set y=2: y: late");
  }
}

TEST(FlowText, ReadsBackToAnEqualNode) {
  for (const char* text : {"8",
                           "1.0e-4",
                           "null",
                           "adamw",
                           "'8'",
                           "{axis: output}",
                           "[q_proj, v_proj]",
                           "{a: {b: [1, 'x, y', null]}}",
                           "40 gpu-hours",
                           "\"a\\nb\"",
                           "'#x'",
                           "2*rank",
                           "'null'",
                           "'a: b'",
                           "'it''s'",
                           "-3",
                           "'- x'",
                           "/data/a b",
                           "\"\\u00e9\"",
                           "'*a'",
                           "{'a b': 1, 'c,d': 2}",
                           "[]",
                           "{}",
                           "true",
                           "'true'",
                           "''"}) {
    const Node node = parse(std::string("key: ") + text).root.members.at(0).value;
    const Node again = parse("key: [" + flow_text(node) + "]").root.members.at(0).value.items.at(0);
    EXPECT_EQ(flow_text(again), flow_text(node)) << text;
    EXPECT_EQ(again.kind, node.kind) << text;
    EXPECT_EQ(again.text, node.text) << text;
    EXPECT_EQ(again.quoted, node.quoted) << text;
    const Node alone = parse("{}", {"key=" + flow_text(node)}).root;
    EXPECT_EQ(alone.members.empty() ? "null" : flow_text(alone.members[0].value), flow_text(node)) << text;
  }
  EXPECT_EQ(flow_text(parse("key: {axis:   output,\n b: [1,2]}").root.members[0].value), "{axis: output, b: [1, 2]}");
}

}  // namespace
}  // namespace dormer::config
