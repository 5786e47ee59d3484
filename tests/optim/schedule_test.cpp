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

TEST(Schedule, RestartsFallAndBeginAnewAndEndAtZero) {
  const Schedule schedule("cosine_restarts", {.total = 24, .warmup = 4}, {.cycles = 4});
  for (std::int64_t step = 4; step < 24; ++step) {
    const double place = static_cast<double>((step - 4) % 5) / 5.0;
    EXPECT_DOUBLE_EQ(schedule.factor(step), 0.5 * (1.0 + std::cos(std::numbers::pi * place))) << step;
  }
  EXPECT_DOUBLE_EQ(schedule.factor(24), 0.0) << "not the begin of a fifth cycle";
  const Schedule once("cosine_restarts", {.total = 24, .warmup = 4});
  const Schedule cosine("cosine", {.total = 24, .warmup = 4});
  for (std::int64_t step = 0; step < 24; ++step) {
    EXPECT_EQ(once.factor(step), cosine.factor(step)) << "one cycle is a plain cosine";
  }
}

TEST(Schedule, OtherShapesFollowTheirFormulas) {
  const ScheduleHorizon horizon{.total = 20, .warmup = 4};
  const Schedule rex("rex", horizon);
  const Schedule square("polynomial", horizon, {.power = 2.0});
  const Schedule root("inverse_sqrt", horizon);
  for (std::int64_t step = 4; step < 20; ++step) {
    const double progress = static_cast<double>(step - 4) / 16.0;
    EXPECT_DOUBLE_EQ(rex.factor(step), (1.0 - progress) / (0.5 + 0.5 * (1.0 - progress)));
    EXPECT_DOUBLE_EQ(square.factor(step), (1.0 - progress) * (1.0 - progress));
    EXPECT_DOUBLE_EQ(root.factor(step), std::sqrt(4.0 / static_cast<double>(step)));
  }
  EXPECT_DOUBLE_EQ(rex.factor(12), 2.0 / 3.0) << "above the line until the end";
  EXPECT_DOUBLE_EQ(Schedule("inverse_sqrt", {.total = 20, .warmup = 0}).factor(8), 1.0 / 3.0);
}

TEST(Schedule, EveryShapeFallsToItsMinimumAndKeepsItsWarmUp) {
  for (const std::string& kind : schedule_registry().names()) {
    const ScheduleOptions options{.cycles = 2, .power = 3.0};
    ScheduleOptions floored = options;
    floored.minimum_factor = 0.1;
    const Schedule whole(kind, {.total = 20, .warmup = 4}, options);
    const Schedule above(kind, {.total = 20, .warmup = 4}, floored);
    for (std::int64_t step = 0; step < 30; ++step) {
      const double expected = step < 4 ? whole.factor(step) : 0.1 + 0.9 * whole.factor(step);
      EXPECT_DOUBLE_EQ(above.factor(step), expected) << kind << " " << step;
      EXPECT_GE(above.factor(step), 0.1) << kind << " " << step;
      EXPECT_LE(above.factor(step), 1.0) << kind << " " << step;
    }
  }
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
