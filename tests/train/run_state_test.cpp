#include "train/run_state.hpp"

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"

namespace dormer::train {
namespace {

TEST(RunState, ReadsBackToTheSameBits) {
  RunState state;
  state.step = 41;
  state.position = 328;
  state.total_steps = 60;
  state.schedule_total = 50;
  state.trainable_parameters = 31'232;
  state.best = {.loss = 0.1 + 0.2, .step = 40, .without_improvement = 2};
  state.first_validation_loss = 1.0 / 3.0;
  state.step_validation_loss = 5e-324;
  state.finished = true;
  state.validation_pending = true;
  state.step_metrics = {{"loss", 2.5}, {"tokens", std::int64_t{7}}};
  state.config = {{"run.seed", "7"}};
  state.fingerprint = {{"cpu", "one"}};
  state.inexact_since = {"step 3: cpu: one -> two"};
  const RunState read = parse_run_state(to_text(state), "here");
  EXPECT_EQ(to_text(read), to_text(state));
  EXPECT_EQ(read.trainable_parameters, 31'232);
  EXPECT_EQ(read.best.loss, 0.1 + 0.2);
  EXPECT_EQ(read.first_validation_loss, 1.0 / 3.0);
  EXPECT_EQ(read.last_validation_loss, std::nullopt);
  EXPECT_EQ(read.step_validation_loss, 5e-324);
  EXPECT_EQ(std::get<std::int64_t>(read.step_metrics.at(1).value), 7);
}

TEST(RunState, TextThatIsNoneIsAnInputError) {
  for (const char* text : {"", "[]", "{}", R"({"step": "x"})"}) {
    try {
      static_cast<void>(parse_run_state(text, "step-000000002"));
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kInput);
      EXPECT_THAT(error.what(), ::testing::HasSubstr("step-000000002"));
    }
  }
}

TEST(Fingerprint, ModelAndDataMakeAnotherExperimentTheRestOtherBits) {
  const Fingerprint stored{{"model", "a"}, {"cpu", "one"}, {"threads", "1"}};
  const Fingerprint current{{"model", "b"}, {"cpu", "two"}, {"threads", "1"}};
  const FingerprintComparison result = compare(stored, current);
  EXPECT_THAT(result.refused, ::testing::ElementsAre("model: a -> b"));
  EXPECT_THAT(result.inexact, ::testing::ElementsAre("cpu: one -> two"));
}

}  // namespace
}  // namespace dormer::train
