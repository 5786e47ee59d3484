#include "dormer/sweep/sweep_report.hpp"

#include <gmock/gmock.h>

#include "sweep/made_sweep.hpp"
#include "sweep/made_trials.hpp"

namespace dormer::sweep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using enum TrialState;

ReportFacts some_facts() {
  ReportFacts facts;
  facts.name = "quick";
  facts.metric = "loss";
  facts.rungs = {20};
  facts.parameters = {{"rank", ParameterKind::kLog}, {"kind", ParameterKind::kChoice}};
  return facts;
}

/// Three points under two seeds: one of them complete in both, one stopped, one of which a trial failed.
std::vector<TrialRecord> some_trials() {
  return {made_trial(3, 1, kStopped, {{20, 4.0}}, {{"rank", "16"}}),
          made_trial(0, 0, kComplete, {{20, 3.0}, {40, 1.0}}, {{"rank", "8"}, {"kind", "lora"}}),
          made_trial(1, 0, kComplete, {{20, 3.0}, {40, 2.0}}, {{"rank", "8"}, {"kind", "lora"}}),
          made_trial(2, 1, kStopped, {{20, 3.0}}, {{"rank", "16"}}),
          made_trial(4, 2, kFailed, {}, {{"rank", "4"}}),
          made_trial(5, 2, kWaiting, {}, {{"rank", "4"}})};
}

TEST(SweepRecord, SaysOfTrialsWhatTheirRecordsSay) {
  std::vector<TrialRecord> trials = some_trials();
  trials[1].worker = "node1:0";
  trials[4].reason = "why";
  std::vector<TrialFacts> known(1);
  known[0].command = "again";
  known[0].images = {{"a", "image/png", "bytes"}};
  const report::SweepRecord sweep = sweep_record(trials, known, some_facts());
  EXPECT_EQ(sweep.trials.size(), 6U);
  for (std::size_t i = 0; i < sweep.trials.size(); ++i) {
    EXPECT_EQ(sweep.trials[i].number, static_cast<std::int64_t>(i));
  }
  const report::SweepTrial& first = sweep.trials[0];
  EXPECT_EQ(first.command, "again");
  EXPECT_EQ(first.images.at(0).bytes, "bytes");
  EXPECT_EQ(first.worker, "node1:0");
  EXPECT_EQ(first.state, "complete");
  EXPECT_EQ(first.values.at(1).value, 1.0);
  EXPECT_EQ(first.seconds, 400.0);
  EXPECT_EQ(first.settings.at(1), "lora");
  EXPECT_FALSE(sweep.trials[2].settings.at(1).has_value());
  EXPECT_EQ(sweep.trials[4].reason, "why");
  EXPECT_EQ(sweep.trials[5].outcome, report::Outcome::kGoingOn);
  EXPECT_TRUE(sweep.parameters[0].log);
  EXPECT_TRUE(sweep.parameters[1].choice);
}

TEST(SweepRecord, HasTheStatisticsOfTheSweep) {
  const report::SweepRecord sweep = sweep_record(some_trials(), {}, some_facts());
  ASSERT_EQ(sweep.standings.size(), 3U);
  EXPECT_EQ(sweep.standings[0].mean, 1.5);
  EXPECT_NEAR(sweep.standings[0].half_width.value(), 12.706204736174705 * 0.5, 1e-11);
  EXPECT_EQ(sweep.standings[0].seeds, "2 of 2");
  EXPECT_EQ(sweep.standings[1].state, "stopped");
  EXPECT_EQ(sweep.standings[2].state, "waiting");
  EXPECT_EQ(sweep.standings[2].seeds, "0 of 2");
  EXPECT_EQ(sweep.importances.size(), 2U);
  ASSERT_EQ(sweep.rungs.size(), 2U);
  EXPECT_EQ(sweep.rungs[0].passed, 4);
  EXPECT_EQ(sweep.rungs[0].failed, 1);
  EXPECT_EQ(sweep.rungs[1].passed, 2);
  EXPECT_EQ(sweep.rungs[1].stopped, 2);
}

TEST(SweepRecord, ComparesValuesWithWhatTheyCost) {
  std::vector<TrialFacts> known(3);
  known[0].parameters = 2'000'000;
  known[1].number = 1;
  known[1].parameters = 2'000'000;
  known[2].number = 3;
  known[2].parameters = 4'000'000;
  const report::SweepRecord sweep = sweep_record(some_trials(), known, some_facts());
  ASSERT_EQ(sweep.fronts.size(), 2U);
  const report::SweepFront& seconds = sweep.fronts[0];
  EXPECT_EQ(seconds.cost, "training seconds");
  ASSERT_EQ(seconds.offers.size(), 2U);  // both on the front: 3.5 for 200 s, 1.5 for 400 s
  EXPECT_EQ(seconds.offers[0].value, 3.5);
  EXPECT_EQ(seconds.offers[0].cost, 200.0);
  EXPECT_EQ(seconds.offers[1].cost, 400.0);
  EXPECT_TRUE(seconds.offers[0].on_front && seconds.offers[1].on_front);
  const report::SweepFront& parameters = sweep.fronts[1];
  EXPECT_EQ(parameters.offers[0].cost, 2.0);
  EXPECT_TRUE(parameters.offers[0].on_front);
  EXPECT_FALSE(parameters.offers[1].on_front);  // worse, and larger
}

TEST(SweepRecord, MakesAPageOfAHundredTrialsBelowTwoMegabytes) {
  const std::string page = report::sweep_page(made_sweep(50).record(), {});
  EXPECT_LT(page.size(), 2'000'000U);
  EXPECT_THAT(page, HasSubstr("Most: optimizer.learning_rate."));
  EXPECT_THAT(page, Not(HasSubstr("nan")));
}

TEST(SweepRecord, OfNothingIsEmpty) {
  const report::SweepRecord sweep = sweep_record({}, {}, some_facts());
  EXPECT_TRUE(sweep.trials.empty() && sweep.standings.empty() && sweep.fronts.empty());
  EXPECT_EQ(sweep.importances.at(0).share, 0.0);
}

}  // namespace
}  // namespace dormer::sweep
