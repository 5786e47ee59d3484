#include "dormer/config/read.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "config/sample_config.hpp"
#include "dormer/core/error.hpp"
#include "support/temp_directory.hpp"

namespace dormer::config {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

const std::vector<ForeignName> kForeign{{"lr", "", "write \"training: {learning_rate: $}\""},
                                        {"axis", "rows", "write \"axis: output\""}};

SampleConfig read_sample(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return load<SampleConfig>({.name = "a.yaml", .text = text, .overrides = overrides, .foreign_names = kForeign});
}

/// The lines of the message that reading `text` ends with.
std::vector<std::string> complaints(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    static_cast<void>(read_sample(text, overrides));
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), 2);
    std::vector<std::string> lines{""};
    for (const char* c = error.what(); *c != '\0'; ++c) {
      *c == '\n' ? lines.emplace_back() : lines.back() += *c;
    }
    return lines;
  }
  return {};
}

TEST(Load, FillsEveryTypeOfField) {
  const SampleConfig config = read_sample(R"(
training: {steps: 60, learning_rate: 5.0e-4, clip: null, patience: 3, note: "7", betas: [0.8, 0.99]}
decompose: {axis: output}
export: [{for: peft}, {for: merged, dtype: bfloat16}]
shuffle: false
name: 12
folder: runs/a b
targets: q_proj
every: 1 epoch
warmup: 3%
alpha: 2*rank
limit: 2 h
)");
  EXPECT_EQ(config.training.steps, 60);
  EXPECT_EQ(config.training.learning_rate, 5.0e-4);
  EXPECT_EQ(config.training.clip, std::nullopt);
  EXPECT_EQ(config.training.patience, 3);
  EXPECT_EQ(config.training.note, "7");
  EXPECT_THAT(config.training.betas, ElementsAre(0.8, 0.99));
  ASSERT_TRUE(config.decompose.has_value());
  EXPECT_EQ(config.decompose->axis, "output");
  ASSERT_EQ(config.exports.size(), 2U);
  EXPECT_EQ(config.exports[1].consumer, "merged");
  EXPECT_EQ(config.exports[1].dtype, "bfloat16");
  EXPECT_FALSE(config.shuffle);
  EXPECT_EQ(config.name, "12");
  EXPECT_EQ(config.folder, "runs/a b");
  EXPECT_THAT(config.targets, ElementsAre("q_proj"));
  EXPECT_EQ(config.every, (Cadence{Cadence::Unit::kEpochs, 1.0}));
  EXPECT_EQ(config.warmup, (StepsOrShare{0.03, true}));
  EXPECT_EQ(config.alpha.text, "2*rank");
  EXPECT_EQ(config.limit.seconds, 7200.0);
}

TEST(Load, LeavesWhatTheFileDoesNotName) {
  const SampleConfig config = read_sample("training: {steps: 1}\ndecompose:\n");
  EXPECT_EQ(config.training.learning_rate, 1e-4);
  EXPECT_EQ(config.training.clip, 1.0);
  EXPECT_EQ(config.decompose, std::nullopt);
  EXPECT_EQ(config.every, Cadence::seconds(900));
}

TEST(Load, AnEmptyMapTurnsAnOptionalGroupOn) {
  EXPECT_EQ(read_sample("training: {steps: 1}\ndecompose: {}\n").decompose->axis, "auto");
}

TEST(Load, ReportsAllMistakesAtOnceInTheOrderOfLines) {
  EXPECT_THAT(complaints("name: a\n"
                         "shufle: true\n"
                         "training:\n"
                         "  learning_rate: -1\n"
                         "  clip: .nan\n"
                         "  clip: 2\n"
                         "decompose: {axis: outptu}\n"
                         "export:\n"
                         "  - {for: peft}\n"
                         "  - {dtype: float32}\n"
                         "every: sometimes\n"),
              ElementsAre("a.yaml:2: shufle: unknown key; did you mean 'shuffle'?",
                          "a.yaml:3: training.steps: is missing: Updates.",
                          "a.yaml:4: training.learning_rate: must be above 0 and at most 10, is -1",
                          "a.yaml:5: training.clip: '.nan' is not a finite number",
                          "a.yaml:6: training.clip: stands here a second time; the first is in line 5",
                          "a.yaml:7: decompose.axis: 'outptu' is not one of auto, output; did you mean 'output'?",
                          "a.yaml:10: export.1.for: is missing: Who reads it.",
                          StartsWith("a.yaml:11: every: 'sometimes' is not a cadence")));
}

TEST(Load, AnswersForeignNamesWithTheLineToWrite) {
  EXPECT_THAT(complaints("training: {steps: 1}\nlr: 5e-4\n"),
              ElementsAre("a.yaml:2: lr: unknown key; write \"training: {learning_rate: 5e-4}\""));
  EXPECT_THAT(complaints("training: {steps: 1}\ndecompose: {axis: rows}\n"),
              ElementsAre("a.yaml:2: decompose.axis: 'rows' is not one of auto, output; write \"axis: output\""));
}

TEST(Load, FindsAKeyThatBelongsToAnotherGroup) {
  EXPECT_THAT(complaints("training: {steps: 1}\nbetas: [0.9, 0.9]\n"),
              ElementsAre("a.yaml:2: betas: unknown key; it stands in another group: training.betas"));
}

struct WrongValue {
  std::string yaml;
  std::string expected;
};
class EveryWrongValue : public testing::TestWithParam<WrongValue> {};

TEST_P(EveryWrongValue, IsOneClearLine) {
  EXPECT_THAT(complaints(GetParam().yaml),
              ElementsAre(AllOf(StartsWith("a.yaml:1: "), HasSubstr(GetParam().expected))));
}

INSTANTIATE_TEST_SUITE_P(
    Values, EveryWrongValue,
    testing::Values(WrongValue{"training: {steps: 1.5}", "training.steps: '1.5' is not a whole number"},
                    WrongValue{"training: {steps: \"5\"}", "the text '5' is not a whole number"},
                    WrongValue{"training: {steps: 0}", "must be at least 1, is 0"},
                    WrongValue{"training: {steps: 99999999999999999999}", "too large for a whole number"},
                    WrongValue{"training: {steps: [1]}", "a list is not a whole number"},
                    WrongValue{"training: {steps: null}", "null is not a whole number"},
                    WrongValue{"training: {steps: 1, learning_rate: 1e999}", "'1e999' cannot be represented"},
                    WrongValue{"training: {steps: 1, learning_rate: .inf}", "not a finite number"},
                    WrongValue{"training: {steps: 1, learning_rate: inf}", "not a finite number"},
                    WrongValue{"training: {steps: 1, learning_rate: fast}", "'fast' is not a number"},
                    WrongValue{"training: {steps: 1, betas: [0.9, 2]}", "item 1: must be between 0 and 1, is 2"},
                    WrongValue{"{training: {steps: 1}, shuffle: yes}", "shuffle: 'yes' is not true or false"},
                    WrongValue{"training: 5", "training: '5' is not a map of keys"},
                    WrongValue{"{training: {steps: 1}, export: {for: peft}}", "export: a map is not a list of maps"},
                    WrongValue{"{training: {steps: 1}, decompose: true}", "decompose: 'true' is not a map of keys"},
                    WrongValue{"{training: {steps: 1}, folder: [a]}", "folder: a list is not a path"},
                    WrongValue{"{training: {steps: 1}, name: {a: b}}", "name: a map is not a text"},
                    WrongValue{"{training: {steps: 1}, limit: soon}", "limit: 'soon' is not a time"}));

TEST(Overrides, AreReadAsYamlAndMakeTheMapsOnTheWay) {
  const SampleConfig config =
      read_sample("name: a\nexport: [{for: peft}]\n", {"training.steps=7", "decompose.axis=output", "shuffle=false",
                                                       "training.betas=[0.5, 0.6]", "export.0.dtype=bfloat16"});
  EXPECT_EQ(config.training.steps, 7);
  EXPECT_EQ(config.decompose->axis, "output");
  EXPECT_FALSE(config.shuffle);
  EXPECT_THAT(config.training.betas, ElementsAre(0.5, 0.6));
  EXPECT_EQ(config.exports[0].dtype, "bfloat16");
}

TEST(Overrides, NullTakesTheKeyAwaySoThatTheDefaultCounts) {
  const SampleConfig config = read_sample("training: {steps: 1, clip: 5}\ndecompose: {axis: output}\n",
                                          {"training.clip=null", "decompose=null", "nothing.here=null"});
  EXPECT_EQ(config.training.clip, 1.0);
  EXPECT_EQ(config.decompose, std::nullopt);
}

TEST(Overrides, TheLastOneCounts) {
  EXPECT_EQ(read_sample("training: {steps: 1}", {"training.steps=2", "training.steps=3"}).training.steps, 3);
}

TEST(Overrides, NameThemselvesInMessages) {
  EXPECT_THAT(complaints("training: {steps: 1}", {"training.stesp=5"}),
              ElementsAre("--set training.stesp=5: training.stesp: unknown key; did you mean 'steps'?"));
  EXPECT_THAT(complaints("training: {steps: 1}", {"training.steps=many"}),
              ElementsAre("--set training.steps=many: training.steps: 'many' is not a whole number"));
  EXPECT_THAT(complaints("training: {steps: 1}", {"nonsense"}),
              ElementsAre("--set nonsense: write it as group.key=value"));
  EXPECT_THAT(complaints("name: x", {"name.first=y"}),
              ElementsAre("--set name.first=y: 'first' stands under 'x', which is not a map"));
  EXPECT_THAT(complaints("export: []", {"export.0.for=peft"}),
              ElementsAre("--set export.0.for=peft: '0' picks no item of a list of 0; items count from 0"));
  EXPECT_THAT(complaints("name: x", {"a..b=1"}), ElementsAre("--set a..b=1: a name between the dots is missing"));
}

TEST(Rules, SpeakWithThePlaceOfTheirKey) {
  const auto rules = [](const SampleConfig&) {
    return std::vector<std::string>{"training.clip: too small", "decompose.axis: not today"};
  };
  try {
    static_cast<void>(
        load<SampleConfig>({.name = "a.yaml", .text = "name: a\ntraining:\n  steps: 1\n  clip: 1\n"}, rules));
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "a.yaml:1: decompose.axis: not today\na.yaml:4: training.clip: too small");
  }
}

TEST(Rules, AreSilentAboutAGroupThatIsWrongAlready) {
  const auto rules = [](const SampleConfig&) { return std::vector<std::string>{"training.steps: must be even"}; };
  try {
    static_cast<void>(load<SampleConfig>({.name = "a.yaml", .text = "training: {stesp: 2}\n"}, rules));
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::Not(HasSubstr("even")));
  }
}

TEST(SourceFromFile, RefusesWhatIsNoFile) {
  const test::TempDirectory directory;
  EXPECT_THROW(static_cast<void>(Source::from_file(directory.path() / "absent.yaml")), Error);
  EXPECT_THROW(static_cast<void>(Source::from_file(directory.path())), Error);
}

}  // namespace
}  // namespace dormer::config
