#include "dormer/config/write.hpp"

#include <gmock/gmock.h>

#include "config/sample_config.hpp"
#include "dormer/config/read.hpp"

namespace dormer::config {
namespace {

constexpr const char* kFull = R"(training:
  steps: 60
  learning_rate: 1.0e-08
  clip: null
  patience: 3
  note: "a \"b\": #c"
  betas: [0.8, 1.0]
decompose:
  axis: output
export:
  - for: peft
    dtype: float32
  - for: "yes"
    dtype: "7"
shuffle: false
name: ""
folder: runs/a
targets: ["*.q_proj", k_proj]
every: 1 epoch
warmup: 3%
alpha: 2*rank
limit: 2 h
)";

SampleConfig parsed(const std::string& text) {
  return load<SampleConfig>({.name = "a.yaml", .text = text});
}

TEST(Dump, OfWhatWasReadIsTheSameText) {
  EXPECT_EQ(dump(parsed(kFull)), kFull);
}

TEST(Dump, OfDefaultsReadsBack) {
  SampleConfig config;
  config.training.steps = 1;
  const std::string text = dump(config);
  EXPECT_THAT(text, testing::HasSubstr("decompose: null\nexport: []\n"));
  EXPECT_EQ(dump(parsed(text)), text);
}

TEST(Flatten, NamesEveryValueByItsPath) {
  const auto values = flatten(parsed(kFull));
  EXPECT_EQ(values.at("training.learning_rate"), "1.0e-08");
  EXPECT_EQ(values.at("decompose.axis"), "output");
  EXPECT_EQ(values.at("export.1.for"), "\"yes\"");
  EXPECT_EQ(values.at("limit"), "2 h");
  EXPECT_EQ(values.size(), 19U);
  EXPECT_EQ(flatten(SampleConfig{}).at("decompose"), "null");
}

TEST(Flatten, GivesEqualValuesEqualTexts) {
  const auto one =
      flatten(parsed("{training: {steps: 1, learning_rate: 1e-3}, alpha: 2 * rank, every: 900 s, targets: a}"));
  const auto other =
      flatten(parsed("{training: {steps: 1, learning_rate: 0.001}, alpha: 2*rank, every: 15 min, targets: [a]}"));
  EXPECT_EQ(one, other);
  EXPECT_EQ(flatten(parsed("{training: {steps: 1}, alpha: 32.0}")),
            flatten(parsed("{training: {steps: 1}, alpha: 32}")));
}

TEST(Reference, ListsEveryKeyWithTypeDefaultRangeAndMeaning) {
  SampleConfig config;
  const std::string text = reference_markdown(list_keys([&](Visitor& visitor) { config.describe(visitor); }));
  EXPECT_THAT(text, testing::HasSubstr("\n## training\n\nHow it learns.\n\n| Key |"));
  EXPECT_THAT(text, testing::HasSubstr("| `training.steps` | whole number | required | at least 1 | Updates. |\n"));
  EXPECT_THAT(
      text, testing::HasSubstr("| `training.learning_rate` | number | `0.0001` | above 0 and at most 10 | Rate. |\n"));
  EXPECT_THAT(text, testing::HasSubstr("| `training.note` | text or null | `null` |  | Free \\| text. |\n"));
  EXPECT_THAT(text, testing::HasSubstr("| `decompose.axis` | text | `auto` | auto, output | Axis. |\n"));
  EXPECT_THAT(text, testing::HasSubstr("| `export[].for` | text | required |  | Who reads it. |\n"));
}

}  // namespace
}  // namespace dormer::config
