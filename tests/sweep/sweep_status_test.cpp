#include "dormer/sweep/sweep_status.hpp"

#include <algorithm>
#include <sstream>

#include <gmock/gmock.h>

#include "sweep/made_trials.hpp"

namespace dormer::sweep {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using enum TrialState;

TEST(SweepStatus, IsATableForATerminal) {
  const Point first{{"optimizer.learning_rate", "3.0e-4"}, {"adapter.rank", "16"}};
  const Point second{{"optimizer.learning_rate", "1.0e-4"}, {"adapter.rank", "8"}};
  std::vector<TrialRecord> trials{made_trial(0, 0, kComplete, {{20, 2.5}, {40, 2.0}}, first),
                                  made_trial(1, 0, kComplete, {{20, 2.5}, {40, 2.0}}, first),
                                  made_trial(2, 1, kStopped, {{20, 3.25}}, second),
                                  made_trial(3, 1, kFailed, {{20, 3.0}}, second),
                                  made_trial(4, 2, kRunning, {}, first),
                                  made_trial(5, 2, kWaiting, {}, first)};
  trials[3].reason = "the loss was not finite";
  const StatusFacts facts{.name = "quick",
                          .metric = "validation_loss",
                          .planned = 8,
                          .rungs = {20},
                          .workers = {{"node1:0", 4, 3.2, false}, {"node2:0", std::nullopt, 200.0, true}},
                          .elapsed_seconds = 3'700.0};
  EXPECT_EQ(status_text(trials, facts),
            "quick\n"
            "trials   6 of 8: 2 complete, 1 running, 1 waiting, 1 stopped, 1 failed\n"
            "time     1 h 01 min since it began, 20 min 00 s of training in all trials\n"
            "\n"
            "best points by validation_loss (the less the better; mean over seeds, +/- 95%)\n"
            "place  point  value                  seeds  updates  state     settings\n"
            "    1      0  2 +/- 0                  2/2       40  complete  learning_rate=3.0e-4 rank=16\n"
            "    2      1  3.125 +/- 1.6            2/2       20  failed    learning_rate=1.0e-4 rank=8\n"
            "\n"
            "rungs\n"
            "   update   reached    passed   stopped    failed  going on\n"
            "        0         5         4         0         0         1\n"
            "       20         4         2         1         1         0\n"
            "\n"
            "workers\n"
            "  node2:0  without a trial, heard 3 min 20 s ago: lost\n"
            "  node1:0  trial 4, heard 3.2 s ago\n"
            "\n"
            "failures\n"
            "  trial 3 (point 1) after update 20: the loss was not finite\n");
}

TEST(SweepStatus, FitsAHundredColumnsWhateverThereIs) {
  std::vector<TrialRecord> trials;
  StatusFacts facts{
      .name = std::string(300, 'n'), .metric = std::string(300, 'm'), .rungs = {}, .workers = {}, .best = 3};
  for (std::int64_t i = 0; i < 40; ++i) {
    trials.push_back(
        made_trial(i, i, i < 20 ? kFailed : kComplete, {{10, 1.0}}, {{"data.train", std::string(80, 'x')}}));
    trials.back().settings.push_back({"text", "\xC3\xA9\xC3\xA9\xC3\xA9\n" + std::string(200, 'y')});
    trials.back().reason = "reason\n" + std::string(200, 'z');
    facts.workers.push_back({std::string(90, 'w'), i, 1.0, false});
  }
  const std::string text = status_text(trials, facts);
  std::istringstream lines(text);
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const auto letters = std::ranges::count_if(line, [](char byte) { return (byte & 0xC0) != 0x80; });
    EXPECT_LE(letters, 100) << line;
  }
  EXPECT_LT(count, 45U);
  EXPECT_THAT(text, HasSubstr("and 28 more\n"));
  EXPECT_THAT(text, HasSubstr("and 8 more\n"));
  EXPECT_THAT(text, HasSubstr("    3     22  1 "));
  EXPECT_THAT(text, Not(HasSubstr("    4     23")));
}

TEST(SweepStatus, CutsALineOfOneLetterTooMany) {
  StatusFacts facts;
  facts.name = std::string(100, 'n');
  EXPECT_THAT(status_text({}, facts), ::testing::StartsWith(std::string(100, 'n') + "\n"));
  facts.name += 'n';
  EXPECT_THAT(status_text({}, facts), ::testing::StartsWith(std::string(99, 'n') + "…\n"));
}

TEST(SweepStatus, ASweepThatDidNotBeginSaysSo) {
  EXPECT_THAT(status_text({}, {.name = "empty", .metric = "loss", .goal = Goal::kMaximize, .rungs = {}, .workers = {}}),
              ::testing::AllOf(HasSubstr("trials   0: 0 complete"), HasSubstr("none was measured yet"),
                               HasSubstr("the more the better")));
}

}  // namespace
}  // namespace dormer::sweep
