#include "dormer/optim/schedule.hpp"

#include <cmath>
#include <numbers>

#include <gmock/gmock.h>

namespace dormer::optim {
namespace {

using ::testing::HasSubstr;

TEST(Schedule, WarmUpRisesLinearlyAndLosesNoUpdateAtZero) {
  for (const std::string& kind : schedule_registry().names()) {
    const Schedule schedule(kind, {.total = 20, .warmup = 4});
    EXPECT_DOUBLE_EQ(schedule.factor(0), 0.25) << kind;
    EXPECT_DOUBLE_EQ(schedule.factor(3), 1.0) << kind;
    EXPECT_DOUBLE_EQ(schedule.factor(4), 1.0) << kind;
  }
}

TEST(Schedule, KindsFollowTheirFormulas) {
  const ScheduleHorizon horizon{.total = 20, .warmup = 4};
  const Schedule constant("constant", horizon);
  const Schedule linear("linear", horizon);
  const Schedule cosine("cosine", horizon);
  for (std::int64_t step = 4; step < 20; ++step) {
    const double progress = static_cast<double>(step - 4) / 16.0;
    EXPECT_DOUBLE_EQ(constant.factor(step), 1.0);
    EXPECT_DOUBLE_EQ(linear.factor(step), 1.0 - progress);
    EXPECT_DOUBLE_EQ(cosine.factor(step), 0.5 * (1.0 + std::cos(std::numbers::pi * progress)));
  }
  EXPECT_GT(linear.factor(19), 0.0) << "the last update counts too";
  EXPECT_DOUBLE_EQ(linear.factor(25), 0.0) << "a schedule that was kept while the run grew stays at its end";
}

TEST(Schedule, RefusesAWarmUpLongerThanTheRun) {
  try {
    const Schedule schedule("cosine", {.total = 3, .warmup = 4});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("schedule.warmup is 4 updates"));
  }
}

TEST(Schedule, UnknownKindNamesTheKnownOnes) {
  try {
    const Schedule schedule("cosin", {.total = 3, .warmup = 0});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("did you mean 'cosine'"));
  }
}

}  // namespace
}  // namespace dormer::optim
