#include "dormer/sweep/leaderboard.hpp"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"
#include "dormer/sweep/rung_counts.hpp"
#include "sweep/made_trials.hpp"

namespace dormer::sweep {
namespace {

using ::testing::ElementsAre;
using enum TrialState;

std::vector<std::int64_t> points_of(const std::vector<Standing>& standings) {
  std::vector<std::int64_t> points;
  for (const Standing& standing : standings) {
    EXPECT_EQ(standing.place, static_cast<std::int64_t>(points.size()) + 1);
    points.push_back(standing.point);
  }
  return points;
}

TEST(StudentT, IsTheQuantileOfTables) {
  // From the incomplete beta function at 30 digits. Bisection ends at neighbouring doubles of the angle, and the sum's
  // error of a few 1e-16 moves t by a few times that, more where the tail is flat: 1e-12 is far above both.
  const auto expect = [](double confidence, std::int64_t degrees, double t) {
    EXPECT_NEAR(student_t(confidence, degrees), t, 1e-12 * t) << degrees;
  };
  expect(0.95, 1, 12.706204736174705);
  expect(0.95, 2, 4.3026527297494639);
  expect(0.95, 3, 3.1824463052837096);
  expect(0.95, 4, 2.7764451051977944);
  expect(0.95, 9, 2.2621571627982055);
  expect(0.95, 30, 2.0422724563012383);
  expect(0.95, 1000, 1.9623390808264085);
  expect(0.99, 5, 4.0321429835552281);
  EXPECT_THROW(static_cast<void>(student_t(0.95, 0)), Error);
}

TEST(Leaderboard, RanksByTheMeanOverSeedsWithItsInterval) {
  const std::vector<TrialRecord> trials{
      made_trial(0, 0, kComplete, {{10, 9.0}, {20, 2.0}}), made_trial(1, 0, kComplete, {{10, 9.0}, {20, 2.4}}),
      made_trial(2, 1, kComplete, {{20, 1.0}}), made_trial(3, 1, kComplete, {{20, 3.0}}),
      made_trial(4, 2, kComplete, {{20, 2.1}})};
  const std::vector<Standing> standings = leaderboard(trials, Goal::kMinimize, {});
  EXPECT_THAT(points_of(standings), ElementsAre(1, 2, 0));
  EXPECT_DOUBLE_EQ(standings[2].mean.value(), 2.2);
  // Two values at a distance of d: the standard error is d / 2.
  EXPECT_NEAR(standings[2].half_width.value(), 12.706204736174705 * 0.2, 1e-12);
  EXPECT_NEAR(standings[0].half_width.value(), 12.706204736174705 * 1.0, 1e-11);
  EXPECT_FALSE(standings[1].half_width.has_value());
  EXPECT_EQ(standings[2].step, 20);
  EXPECT_EQ(standings[2].measured, 2);
  EXPECT_EQ(standings[2].replicas, 2);
  EXPECT_EQ(standings[2].seconds, 400.0);
  EXPECT_EQ(standings[2].state, kComplete);
  EXPECT_THAT(points_of(leaderboard(trials, Goal::kMaximize, {})), ElementsAre(0, 2, 1));
}

TEST(Leaderboard, ComparesSeedsAfterAsManyUpdatesAsAllOfThemDid) {
  const std::vector<TrialRecord> trials{made_trial(0, 0, kComplete, {{10, 3.0}, {20, 2.0}, {30, 1.0}}),
                                        made_trial(1, 0, kComplete, {{10, 3.5}, {25, 2.5}}),
                                        made_trial(2, 0, kRunning, {{10, 100.0}})};
  const std::vector<Standing> standings = leaderboard(trials, Goal::kMinimize, {});
  EXPECT_EQ(standings[0].step, 25);
  EXPECT_DOUBLE_EQ(standings[0].mean.value(), 2.25);  // 2.0 after 20 of 25 updates, 2.5 after 25
  EXPECT_EQ(standings[0].measured, 2);                // the one that is still running does not count
  EXPECT_EQ(standings[0].replicas, 3);
  EXPECT_EQ(standings[0].state, kRunning);
  EXPECT_TRUE(standings[0].by_value);
}

TEST(Leaderboard, StoppedAndFailedPointsStandBelowByTheirRungs) {
  const std::vector<std::int64_t> rungs{10, 20, 40};
  const std::vector<TrialRecord> trials{
      made_trial(0, 0, kStopped, {{10, 0.1}}),             // the lowest value of all, at the first rung
      made_trial(1, 1, kStopped, {{10, 5.0}, {25, 4.0}}),  // the second rung
      made_trial(2, 2, kComplete, {{40, 8.0}}),            // worst value, but complete
      made_trial(3, 3, kFailed, {}),                       // nothing
      made_trial(4, 4, kFailed, {{20, 3.0}}),              // the second rung, better than point 1
      made_trial(5, 5, kComplete, {{40, 7.0}}),            // one seed complete, the other failed at once: no rung
      made_trial(6, 5, kFailed, {}),
      made_trial(7, 6, kWaiting, {})};
  const std::vector<Standing> standings = leaderboard(trials, Goal::kMinimize, rungs);
  EXPECT_THAT(points_of(standings), ElementsAre(2, 4, 1, 0, 5, 3, 6));
  EXPECT_EQ(standings[1].rung, 20);
  EXPECT_EQ(standings[2].rung, 20);
  EXPECT_EQ(standings[3].rung, 10);
  EXPECT_EQ(standings[4].state, kFailed);
  EXPECT_EQ(standings[4].mean, 7.0);
  EXPECT_FALSE(standings[5].mean.has_value());
  EXPECT_EQ(standings[6].state, kWaiting);
}

TEST(Leaderboard, TiesGoToTheSmallerNumberAndWhatIsNotFiniteIsNoValue) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<TrialRecord> trials{
      made_trial(0, 0, kComplete, {{5, nan}}), made_trial(1, 1, kComplete, {{5, 2.0}}),
      made_trial(2, 2, kComplete, {{5, 2.0}}), made_trial(3, 3, kComplete, {{5, -HUGE_VAL}})};
  EXPECT_THAT(points_of(leaderboard(trials, Goal::kMinimize, {})), ElementsAre(1, 2, 0, 3));
  EXPECT_THAT(points_of(leaderboard(trials, Goal::kMaximize, {})), ElementsAre(1, 2, 0, 3));
  EXPECT_TRUE(leaderboard({}, Goal::kMinimize, {}).empty());
}

TEST(RungCounts, SayWhereTrialsWent) {
  const std::vector<std::int64_t> rungs{10, 20};
  const std::vector<TrialRecord> trials{made_trial(0, 0, kComplete, {{10, 1.0}, {20, 1.0}, {40, 1.0}}),
                                        made_trial(1, 1, kStopped, {{10, 1.0}}),
                                        made_trial(2, 2, kWaiting, {{10, 1.0}}),
                                        made_trial(3, 3, kWaiting, {}),
                                        made_trial(4, 4, kRunning, {{25, 1.0}}),
                                        made_trial(5, 5, kFailed, {{5, 1.0}}),
                                        made_trial(6, 6, kFailed, {}),
                                        made_trial(7, 7, kStopped, {{20, 1.0}})};
  const std::vector<RungCount> counts = rung_counts(trials, rungs);
  const auto numbers = [&](std::size_t i) {
    const RungCount& one = counts.at(i);
    return std::vector<std::int64_t>{one.step, one.reached, one.passed, one.stopped, one.failed, one.going_on};
  };
  EXPECT_EQ(counts.size(), 3U);
  EXPECT_THAT(numbers(0), ElementsAre(0, 7, 5, 0, 2, 0));
  EXPECT_THAT(numbers(1), ElementsAre(10, 5, 3, 1, 0, 1));
  EXPECT_THAT(numbers(2), ElementsAre(20, 3, 1, 1, 0, 1));
}

}  // namespace
}  // namespace dormer::sweep
