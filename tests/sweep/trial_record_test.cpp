#include "dormer/sweep/trial_record.hpp"

#include <gtest/gtest.h>

namespace dormer::sweep {
namespace {

TEST(TrialRecord, ValueIsTheLastMeasurement) {
  TrialRecord trial;
  EXPECT_FALSE(trial.value().has_value());
  EXPECT_EQ(trial.steps(), 0);
  trial.measurements = {{.step = 5, .value = 2.5, .seconds = 1.0}, {.step = 20, .value = 2.25, .seconds = 4.0}};
  EXPECT_EQ(trial.value(), 2.25);
  EXPECT_EQ(trial.steps(), 20);
  EXPECT_EQ(trial.seconds(), 4.0);
}

}  // namespace
}  // namespace dormer::sweep
