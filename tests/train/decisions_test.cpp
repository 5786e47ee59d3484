#include "train/decisions.hpp"

#include <limits>

#include <gmock/gmock.h>

namespace dormer::train {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::int64_t kBatch = 8;

Clock after(std::int64_t step, double seconds = 0.0) {
  return {.step = step, .position = step * kBatch, .seconds = seconds};
}

LoopFacts facts_after(std::int64_t step, double seconds = 0.0) {
  LoopFacts facts;
  facts.now = after(step, seconds);
  facts.last_exports.resize(1);
  facts.total_steps = 40;
  facts.global_batch = kBatch;
  facts.samples = 100;
  facts.has_validation = true;
  return facts;
}

RunConfig config_with_one_export() {
  RunConfig config;
  config.exports.resize(1);
  config.exports[0].consumer = "peft";
  return config;
}

TEST(Straggler, IsARankThatKeepsOthersWaitingForLong) {
  EXPECT_EQ(find_straggler({1.0, 1.0, 2.0, 1.0}, 4.0), (Straggler{.rank = 2, .ratio = 2.0}));
  EXPECT_EQ(find_straggler({3.0, 1.0}, 1.0), (Straggler{.rank = 0, .ratio = 3.0}));
  EXPECT_FALSE(find_straggler({1.0, 1.4, 1.0}, 100.0)) << "not by half";
  EXPECT_FALSE(find_straggler({0.01, 0.05}, 8.0)) << "five times as slow, and nobody waits for a second";
  EXPECT_FALSE(find_straggler({5.0}, 8.0));
}

TEST(Cadence, StepsFallOnMultiples) {
  const config::Cadence every = config::Cadence::steps(20);
  EXPECT_TRUE(is_due(every, after(20), after(0), kBatch, 100));
  EXPECT_FALSE(is_due(every, after(21), after(0), kBatch, 100)) << "a resumed run keeps its rhythm";
  EXPECT_TRUE(is_due(every, after(40), after(33), kBatch, 100));
  EXPECT_FALSE(is_due(config::Cadence::never(), after(20), after(0), kBatch, 100));
}

TEST(Cadence, EpochsFallOnTheUpdateThatCrossesThem) {
  const config::Cadence every{config::Cadence::Unit::kEpochs, 1.0};  // 100 samples: updates 13, 25, 38, …
  std::vector<std::int64_t> due;
  for (std::int64_t step = 1; step <= 40; ++step) {
    if (is_due(every, after(step), after(0), kBatch, 100)) {
      due.push_back(step);
    }
  }
  EXPECT_THAT(due, ElementsAre(13, 25, 38));
}

TEST(Cadence, SecondsCountFromTheLastTime) {
  const config::Cadence every = config::Cadence::seconds(60);
  EXPECT_FALSE(is_due(every, after(5, 59.0), after(0, 0.0), kBatch, 100));
  EXPECT_TRUE(is_due(every, after(5, 60.0), after(0, 0.0), kBatch, 100));
  EXPECT_FALSE(is_due(every, after(6, 100.0), after(5, 60.0), kBatch, 100));
}

TEST(Decide, AnOrdinaryUpdateDoesNothing) {
  EXPECT_EQ(decide(config_with_one_export(), facts_after(7)), NextActions{});
}

TEST(Decide, TheLastUpdateDoesEverything) {
  const NextActions expected{.validate = true,
                             .validation_pending = false,
                             .checkpoint = true,
                             .exports = {0},
                             .finished = true,
                             .stop = false};
  EXPECT_EQ(decide(config_with_one_export(), facts_after(40)), expected);
}

TEST(Decide, ValidationFollowsItsCadenceAndCanBeTurnedOff) {
  RunConfig config = config_with_one_export();
  EXPECT_TRUE(decide(config, facts_after(20)).validate);
  config.validation.every = config::Cadence::never();
  EXPECT_FALSE(decide(config, facts_after(20)).validate);
  EXPECT_FALSE(decide(config, facts_after(40)).validate);
  LoopFacts without_data = facts_after(20);
  without_data.has_validation = false;
  EXPECT_FALSE(decide(config_with_one_export(), without_data).validate);
}

TEST(Decide, AStopSavesAndDoesNothingElse) {
  LoopFacts facts = facts_after(20);
  facts.stop_requested = true;
  const NextActions expected{.validate = false,
                             .validation_pending = true,
                             .checkpoint = true,
                             .exports = {},
                             .finished = false,
                             .stop = true};
  EXPECT_EQ(decide(config_with_one_export(), facts), expected);
  facts.now = after(40);
  EXPECT_FALSE(decide(config_with_one_export(), facts).stop) << "a finished run has nothing to be requeued for";
}

/// Whoever paused the run there waits for the measurement, which no cadence makes.
TEST(Decide, AStopWhereTheRunShallPauseOwesTheMeasurement) {
  LoopFacts facts = facts_after(7);
  facts.until = 7;
  EXPECT_TRUE(decide(config_with_one_export(), facts).validate);
  facts.stop_requested = true;
  const NextActions stopped = decide(config_with_one_export(), facts);
  EXPECT_TRUE(stopped.stop);
  EXPECT_FALSE(stopped.pause);
  EXPECT_FALSE(stopped.validate);
  EXPECT_TRUE(stopped.validation_pending);
  facts.until = 8;
  EXPECT_FALSE(decide(config_with_one_export(), facts).validation_pending);
}

TEST(Decide, StopsWhileThereIsTimeToSave) {
  LoopFacts facts = facts_after(7, 500.0);
  facts.seconds_allowed = 1000.0;
  facts.seconds_per_update = 100.0;
  EXPECT_FALSE(decide(config_with_one_export(), facts).stop);
  facts.now.seconds = 741.0;  // two updates and a minute before the limit
  EXPECT_TRUE(decide(config_with_one_export(), facts).stop);
}

TEST(Steps, ComeFromStepsOrEpochs) {
  RunSection run;
  run.steps = 60;
  EXPECT_EQ(total_steps(run, 100, kBatch), 60);
  run.steps.reset();
  run.epochs = 2.0;
  EXPECT_EQ(total_steps(run, 100, kBatch), 25);
}

TEST(Steps, AnExtendedRunKeepsOrStretchesItsSchedule) {
  ScheduleSection schedule;
  const RunLength stored{.total = 60, .schedule_total = 60};
  EXPECT_EQ(schedule_total(schedule, 60, std::nullopt), 60);
  schedule.extend = "keep";
  EXPECT_EQ(schedule_total(schedule, 80, stored), 60);
  EXPECT_EQ(schedule_total(schedule, 80, RunLength{.total = 80, .schedule_total = 60}), 60)
      << "kept once, kept for ever";
  schedule.extend = "stretch";
  EXPECT_EQ(schedule_total(schedule, 80, stored), 80);
}

TEST(TimeLimit, AutomaticIsTheRestOfTheSlurmJob) {
  const config::Duration automatic{.seconds = std::nullopt, .automatic = true};
  EXPECT_EQ(seconds_allowed(automatic, {}, 1000.0), std::nullopt);
  EXPECT_EQ(seconds_allowed(automatic, {{"SLURM_JOB_END_TIME", "1600"}}, 1000.0), 600.0);
  EXPECT_EQ(seconds_allowed(automatic, {{"SLURM_JOB_END_TIME", "soon"}}, 1000.0), std::nullopt);
  EXPECT_EQ(seconds_allowed({.seconds = 90.0, .automatic = false}, {{"SLURM_JOB_END_TIME", "1600"}}, 1000.0), 90.0);
}

TEST(BestValidation, RemembersTheLowestLossAndCountsPatience) {
  BestValidation best;
  EXPECT_FALSE(record_validation(best, std::numeric_limits<double>::quiet_NaN(), 0))
      << "not a number is never the best";
  EXPECT_TRUE(record_validation(best, 3.0, 0));
  EXPECT_TRUE(record_validation(best, 2.0, 20));
  EXPECT_FALSE(record_validation(best, 2.0, 40));
  EXPECT_FALSE(record_validation(best, 2.5, 60));
  EXPECT_EQ(best.loss, 2.0);
  EXPECT_EQ(best.step, 20);
  EXPECT_EQ(best.without_improvement, 2);
}

TEST(Retention, SparesTheCheckpointsWithTheLowestLoss) {
  const std::vector<StoredCheckpoint> stored{{10, 3.0}, {20, 2.0}, {30, 2.5}, {40, std::nullopt}, {50, 2.0}};
  EXPECT_THAT(best_steps(stored, 1), ElementsAre(20)) << "the earlier of equals";
  EXPECT_THAT(best_steps(stored, 3), ElementsAre(20, 50, 30));
  EXPECT_THAT(best_steps(stored, 9), ElementsAre(20, 50, 30, 10))
      << "one without a measurement is never among the best";
  EXPECT_THAT(best_steps(stored, 0), IsEmpty());
}

}  // namespace
}  // namespace dormer::train
