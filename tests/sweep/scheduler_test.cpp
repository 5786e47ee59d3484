#include "dormer/sweep/scheduler.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"

namespace dormer::sweep {
namespace {

using ::testing::ElementsAre;

/// Points that say their number; a learning one also says what it was shown.
class NumberedSampler final : public Sampler {
 public:
  explicit NumberedSampler(bool learns = false) : learns_(learns) {}
  [[nodiscard]] Point propose(std::int64_t number, std::span<const Observation> seen) const override {
    std::string text;
    for (const Observation& one : seen) {
      text += fmt::format("{}:{} ", one.number, one.value.value_or(-1.0));
    }
    return {{"number", fmt::format("{}", number)}, {"seen", text}};
  }
  [[nodiscard]] bool learns() const override { return learns_; }

 private:
  bool learns_;
};

std::unique_ptr<StoppingRule> rule(const std::string& name, const StoppingInputs& inputs = {}) {
  return stopping_registry().get("rule", name)(inputs);
}

/// A sweep of made-up trials: the value of trial n after s updates is `value(n, s)`.
class World {
 public:
  World(const SchedulerPlan& plan, const std::string& rule_name, std::int64_t points, bool learns = false,
        const StoppingInputs& inputs = {.minimum_steps = 4, .factor = 2})
      : sampler_(learns), rule_(rule(rule_name, inputs)), scheduler_(plan, sampler_, *rule_) {
    apply({.kind = EventKind::kBegun, .step = points});
  }

  void apply(const Event& event) {
    log.push_back(event);
    scheduler_.apply(event);
  }
  std::vector<Assignment> claim(const std::string& worker, std::size_t most = 1) {
    const std::vector<Assignment> claimed = scheduler_.next(most);
    for (const Assignment& one : claimed) {
      apply({.kind = EventKind::kStarted,
             .trial = one.trial,
             .attempt = one.attempt,
             .step = one.until,
             .worker = worker,
             .settings = one.fresh ? std::optional(one.settings) : std::nullopt});
    }
    return claimed;
  }
  void report(const Assignment& one) {
    updates += one.until - (scheduler_.find(one.trial)->steps());
    apply({.kind = EventKind::kMeasured,
           .trial = one.trial,
           .attempt = one.attempt,
           .step = one.until,
           .measurements = {
               {.step = one.until, .value = value(one.trial, one.until), .seconds = static_cast<double>(one.until)}}});
  }
  void fail_trial(const Assignment& one) {
    apply({.kind = EventKind::kFailed,
           .trial = one.trial,
           .attempt = one.attempt,
           .fault = Fault::kNumerical,
           .text = "not finite"});
  }
  /// One worker after the other, in an order that `seed` decides, with so many at work at once.
  void run(std::size_t workers, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<Assignment> at_work;
    while (true) {
      while (at_work.size() < workers) {
        const std::vector<Assignment> claimed = claim("worker");
        if (claimed.empty()) {
          break;
        }
        at_work.push_back(claimed.front());
      }
      if (at_work.empty()) {
        break;
      }
      const std::size_t who = random() % at_work.size();
      const Assignment done = at_work[who];
      at_work.erase(at_work.begin() + static_cast<std::ptrdiff_t>(who));
      report(done);
    }
    EXPECT_TRUE(scheduler_.finished());
  }
  [[nodiscard]] std::string table() const {
    std::string text;
    for (const TrialRecord& trial : scheduler_.trials()) {
      text += fmt::format("{} {} {} {} {} {}\n", trial.number, name_of(trial.state), trial.steps(),
                          trial.value().value_or(-1.0), trial.settings.at(0).text, trial.settings.at(1).text);
    }
    return text;
  }
  [[nodiscard]] Scheduler& scheduler() { return scheduler_; }

  std::function<double(std::int64_t, std::int64_t)> value = [](std::int64_t trial, std::int64_t step) {
    return static_cast<double>((trial * 37) % 101) + 1.0 / static_cast<double>(step);
  };
  std::int64_t updates = 0;
  std::vector<Event> log;

 private:
  NumberedSampler sampler_;
  std::unique_ptr<StoppingRule> rule_;
  Scheduler scheduler_;
};

TEST(Scheduler, WithoutARuleEveryTrialRunsToItsEnd) {
  World world({.seeds = 2, .total_steps = 40}, "none", 3);
  world.run(2, 1);
  EXPECT_EQ(world.updates, 240);
  EXPECT_EQ(world.scheduler().trials().size(), 6U);
  EXPECT_EQ(world.scheduler().trials()[5].point, 2);
  EXPECT_EQ(world.scheduler().trials()[5].replica, 1);
  EXPECT_EQ(world.scheduler().trials()[4].settings, world.scheduler().trials()[5].settings);
}

TEST(Scheduler, HalvingTrainsTheBestOnesOn) {
  World world({.total_steps = 16}, "halving", 8);
  world.run(3, 1);
  // 8 to update 4, 4 to 8, 2 to 16.
  EXPECT_EQ(world.updates, 8 * 4 + 4 * 4 + 2 * 8);
  std::vector<std::int64_t> complete;
  for (const TrialRecord& trial : world.scheduler().trials()) {
    if (trial.state == TrialState::kComplete) {
      complete.push_back(trial.number);
    }
  }
  EXPECT_THAT(complete, ElementsAre(0, 3));  // values 0 and 10; then 20 (6), 37, 47, 57, 74, 84
}

TEST(Scheduler, TheTableDoesNotDependOnWorkersNorOnWhoIsFaster) {
  for (const char* name : {"none", "halving"}) {
    for (const bool learns : {false, true}) {
      std::string expected;
      for (const std::size_t workers : {1U, 2U, 7U, 40U}) {
        for (const unsigned seed : {1U, 2U, 3U}) {
          World world({.seeds = 2, .total_steps = 64, .lag = 4}, name, 24, learns);
          world.run(workers, seed);
          if (expected.empty()) {
            expected = world.table();
          }
          EXPECT_EQ(world.table(), expected) << name << ", " << workers << " workers";
        }
      }
    }
  }
}

TEST(Scheduler, ALearningSamplerSeesWhatIsLagBehind) {
  World world({.total_steps = 8, .lag = 2}, "none", 5, /*learns=*/true);
  const Assignment first = world.claim("a").front();
  const Assignment second = world.claim("b").front();
  const Assignment third = world.claim("c").front();
  EXPECT_EQ(third.settings.at(1).text, "");
  EXPECT_TRUE(world.claim("d").empty()) << "point 3 depends on point 0";
  world.report(second);
  EXPECT_TRUE(world.claim("d").empty());
  world.report(first);
  EXPECT_EQ(world.claim("d").front().settings.at(1).text, "0:0.125 ");
  world.report(third);
  EXPECT_EQ(world.claim("e").front().settings.at(1).text, "0:0.125 1:37.125 ");
}

TEST(Scheduler, AFailedPointLosesItsPlaceAndNothingElse) {
  World world({.total_steps = 16, .max_failed = 3}, "halving", 8);
  const Assignment zero = world.claim("w").front();
  world.fail_trial(zero);
  world.run(2, 5);
  EXPECT_EQ(world.scheduler().find(0)->state, TrialState::kFailed);
  EXPECT_EQ(world.scheduler().find(0)->reason, "not finite");
  EXPECT_EQ(world.scheduler().find(3)->state, TrialState::kComplete);
  EXPECT_EQ(world.scheduler().find(6)->state, TrialState::kComplete);
}

TEST(Scheduler, TooManyFailuresEndTheSweep) {
  World world({.total_steps = 16, .max_failed = 1}, "none", 8);
  world.fail_trial(world.claim("w").front());
  EXPECT_TRUE(world.scheduler().ending().empty());
  const Assignment running = world.claim("v").front();
  world.fail_trial(world.claim("w").front());
  EXPECT_EQ(world.scheduler().ending(), "2 trials failed, and sweep.max_failed is 1");
  EXPECT_EQ(world.scheduler().ending_fault(), Fault::kNumerical);
  EXPECT_TRUE(world.claim("w").empty());
  EXPECT_FALSE(world.scheduler().finished());
  world.report(running);
  EXPECT_TRUE(world.scheduler().finished());
}

TEST(Scheduler, ABudgetEndsTheSweep) {
  World world({.total_steps = 10, .budget_seconds = 25.0}, "none", 8);
  world.run(1, 1);
  EXPECT_EQ(world.scheduler().trials().size(), 3U);  // of 10 seconds each
  EXPECT_THAT(world.scheduler().ending(), ::testing::HasSubstr("30 seconds of training of 25"));
}

TEST(Scheduler, WhatALostWorkerHadGoesOnElsewhereAndItsWordCountsNoMore) {
  World world({.total_steps = 8}, "none", 2);
  const Assignment lost = world.claim("dies").front();
  world.apply({.kind = EventKind::kLost, .worker = "dies"});
  const Assignment again = world.claim("lives").front();
  EXPECT_EQ(again.trial, lost.trial);
  EXPECT_GT(again.attempt, lost.attempt);
  world.report(lost);
  EXPECT_EQ(world.scheduler().find(lost.trial)->state, TrialState::kRunning);
  world.report(again);
  EXPECT_EQ(world.scheduler().find(lost.trial)->state, TrialState::kComplete);
}

TEST(Scheduler, ATrialThatKillsItsWorkersHasFailed) {
  World world({.total_steps = 8, .max_lives = 3}, "none", 1);
  for (int life = 0; life < 3; ++life) {
    EXPECT_FALSE(world.claim("w").empty());
    world.apply({.kind = EventKind::kLost, .worker = "w"});
  }
  EXPECT_EQ(world.scheduler().find(0)->state, TrialState::kFailed);
  EXPECT_TRUE(world.scheduler().finished());
}

TEST(Scheduler, ATrialThatGetsOnBetweenLossesGoesOn) {
  World world({.total_steps = 100, .max_lives = 2}, "none", 1);
  for (std::int64_t life = 0; life < 10; ++life) {
    EXPECT_FALSE(world.claim("w").empty()) << life;
    world.apply({.kind = EventKind::kLost, .worker = "w", .saved = {{0, 4 * (life + 1)}}});
  }
  world.report(world.claim("w").front());
  EXPECT_EQ(world.scheduler().find(0)->state, TrialState::kComplete);
}

TEST(Scheduler, SomebodyStopsATrial) {
  World world({.total_steps = 16}, "halving", 4);
  const Assignment running = world.claim("w").front();
  world.apply({.kind = EventKind::kStopped, .trial = running.trial});
  EXPECT_TRUE(world.scheduler().asked_to_stop(running.trial));
  world.apply({.kind = EventKind::kReleased, .trial = running.trial, .attempt = running.attempt});
  EXPECT_EQ(world.scheduler().find(running.trial)->state, TrialState::kStopped);
  world.run(2, 3);
}

TEST(Scheduler, AnAddedPointRunsToItsEndWithoutAVerdict) {
  World world({.total_steps = 16}, "halving", 4);
  world.value = [](std::int64_t trial, std::int64_t) { return static_cast<double>(trial); };
  const std::int64_t number = world.scheduler().next_added();
  world.apply({.kind = EventKind::kAdded, .trial = number, .settings = Point{{"number", "mine"}, {"seen", ""}}});
  world.run(2, 1);
  EXPECT_EQ(number, 4);
  EXPECT_EQ(world.scheduler().find(number)->state, TrialState::kComplete);
  EXPECT_FALSE(world.scheduler().can_grow());
}

TEST(Scheduler, AReplayedJournalDecidesTheSame) {
  World world({.seeds = 2, .total_steps = 64}, "asha", 30);
  world.run(5, 9);
  World replayed({.seeds = 2, .total_steps = 64}, "asha", 0);
  for (const Event& event : world.log) {
    replayed.apply(event);
  }
  EXPECT_EQ(replayed.table(), world.table());
  EXPECT_TRUE(replayed.scheduler().finished());
}

TEST(Scheduler, AshaAndMedianSaveUpdatesAndFinishSomebody) {
  for (const char* name : {"asha", "median"}) {
    World world({.total_steps = 64}, name, 40);
    world.run(4, 2);
    EXPECT_LT(world.updates, 40 * 64 / 2) << name;
    const std::vector<TrialRecord> trials = world.scheduler().trials();
    EXPECT_TRUE(std::ranges::any_of(trials, [](const TrialRecord& trial) {
      return trial.state == TrialState::kComplete && trial.number == 0;  // the best one
    })) << name;
  }
}

TEST(Stopping, TiesAndSmallRungs) {
  const auto halving = rule("halving", {.minimum_steps = 5, .factor = 3});
  EXPECT_THAT(halving->rungs(100), ElementsAre(5, 15, 45));
  EXPECT_THAT(halving->rungs(45), ElementsAre(5, 15));
  const auto rung = halving->rung();
  static_cast<void>(rung->arrive({.point = 9, .value = 1.0}));
  static_cast<void>(rung->arrive({.point = 4, .value = 1.0}));
  static_cast<void>(rung->arrive({.point = 5, .value = std::nullopt}));
  EXPECT_THAT(rung->close(), ElementsAre(Judgement{4, true}, Judgement{9, false}, Judgement{5, false}));
  // Of two points a third is none: one goes on all the same.
  const auto asha = rule("asha", {.minimum_steps = 5, .factor = 3})->rung();
  EXPECT_THAT(asha->arrive({.point = 1, .value = 3.0}), ElementsAre());
  EXPECT_THAT(asha->arrive({.point = 2, .value = 2.0}), ElementsAre());
  EXPECT_THAT(asha->close(), ElementsAre(Judgement{2, true}, Judgement{1, false}));
}

TEST(Stopping, TheMedianIsOfThoseThatCameBefore) {
  const auto stopping = rule("median", {.minimum_steps = 5, .factor = 3});
  EXPECT_THAT(stopping->rungs(17), ElementsAre(5, 10, 15));
  const auto rung = stopping->rung();
  const auto goes_on = [&](std::int64_t point, std::optional<double> value) {
    const std::vector<Judgement> judged = rung->arrive({.point = point, .value = value});
    EXPECT_EQ(judged.size(), 1U);
    EXPECT_EQ(judged.front().point, point);
    return judged.front().goes_on;
  };
  for (std::int64_t point = 0; point < 4; ++point) {
    EXPECT_TRUE(goes_on(point, static_cast<double>(point + 1))) << "of few there is no median";
  }
  EXPECT_FALSE(goes_on(4, 3.5));  // of 1, 2, 3, 4 the upper median is 3
  EXPECT_FALSE(goes_on(5, std::nullopt));
  EXPECT_TRUE(goes_on(6, 3.0));  // of 1, 2, 3, 3.5, 4 again; what failed does not count
  EXPECT_TRUE(goes_on(7, 0.5));
  EXPECT_THAT(rung->close(), ElementsAre());
}

TEST(Stopping, AshaPromotesTheBestThirdOfThoseThatCame) {
  const auto rung = rule("asha", {.minimum_steps = 1, .factor = 3})->rung();
  EXPECT_THAT(rung->arrive({.point = 0, .value = 5.0}), ElementsAre());
  EXPECT_THAT(rung->arrive({.point = 1, .value = 4.0}), ElementsAre());
  EXPECT_THAT(rung->arrive({.point = 2, .value = 6.0}), ElementsAre(Judgement{1, true}));
  EXPECT_THAT(rung->arrive({.point = 3, .value = 1.0}), ElementsAre(Judgement{3, true}));
  EXPECT_THAT(rung->arrive({.point = 4, .value = 9.0}), ElementsAre());
}

}  // namespace
}  // namespace dormer::sweep
