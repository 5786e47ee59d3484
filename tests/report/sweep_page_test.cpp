#include "dormer/report/sweep_page.hpp"

#include <limits>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "report/sweep_parts.hpp"
#include "report/text_count.hpp"

namespace dormer::report {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kHostile = "</script><b a=\"1\" c='2'>&";

SweepTrial a_trial(std::int64_t number, Outcome outcome, const std::vector<SweepValue>& values) {
  SweepTrial trial;
  trial.number = number;
  trial.point = number;
  trial.outcome = outcome;
  trial.state = outcome == Outcome::kComplete ? "complete" : outcome == Outcome::kStopped ? "stopped" : "failed";
  trial.settings = {fmt::format("1e-{}", number + 2), number % 2 == 0 ? "lora" : "dora", std::nullopt};
  trial.values = values;
  trial.seconds = 60.0;
  trial.command = fmt::format("dormer train base.yaml --set trial={}", number);
  return trial;
}

/// Four trials: two complete ones, one that was stopped, one that failed without a value.
SweepRecord a_sweep() {
  SweepRecord sweep;
  sweep.name = "tiny";
  sweep.state = "ended";
  sweep.metric = "validation_loss";
  sweep.total_steps = 40;
  sweep.facts = {{"method", "grid"}};
  sweep.config = {{"run.steps", "40"}};
  sweep.parameters = {{"optimizer.learning_rate", true, false}, {"kind", false, true}, {"adapter.axis", false, true}};
  sweep.trials = {a_trial(0, Outcome::kComplete, {{20, 3.0}, {40, 2.5}}),
                  a_trial(1, Outcome::kComplete, {{20, 2.75}, {40, 2.25}}), a_trial(2, Outcome::kStopped, {{20, 3.5}}),
                  a_trial(3, Outcome::kFailed, {})};
  sweep.trials[1].settings[2] = "input";
  sweep.trials[3].reason = "the loss was not finite";
  const auto row = [&](std::int64_t place, std::int64_t point, std::optional<double> mean, const char* state) {
    SweepStanding one{.place = place,
                      .point = point,
                      .outcome = sweep.trials[static_cast<std::size_t>(point)].outcome,
                      .state = state,
                      .mean = mean,
                      .half_width = {},
                      .seeds = "1 of 1",
                      .step = 40,
                      .seconds = 60.0,
                      .settings = sweep.trials[static_cast<std::size_t>(point)].settings};
    sweep.standings.push_back(one);
  };
  row(1, 1, 2.25, "complete");
  row(2, 0, 2.5, "complete");
  row(3, 2, 3.5, "stopped");
  row(4, 3, std::nullopt, "failed");
  sweep.standings[0].half_width = 0.125;
  sweep.importances = {{"optimizer.learning_rate", 0.75, 4}, {"kind", 0.25, 4}, {"adapter.axis", 0.0, 1}};
  sweep.rungs = {{0, 3, 0, 1, 0}, {20, 2, 1, 0, 0}};
  sweep.fronts = {{"training seconds", {{1, 2.25, 60.0, true}, {0, 2.5, 60.0, false}}}};
  sweep.timeline = {{"node1:0", 0, 0.0, 60.0}, {"node1:1", 1, 0.0, 60.0}, {"node1:0", 2, 61.0, 90.0}};
  sweep.trials[0].images = {{"a teapot", "image/png", "Man"}};
  return sweep;
}

TEST(SweepPage, HasEveryPictureWithItsWords) {
  const std::string page = sweep_page(a_sweep(), {});
  for (const char* id : {"plot-history", "plot-parallel", "plot-importances", "plot-slice-0", "plot-slice-1",
                         "plot-slice-2", "plot-curves", "plot-rungs", "plot-front-0", "plot-timeline"}) {
    EXPECT_EQ(count(page, fmt::format("<figure id=\"{}\">", id)), 1U) << id;
    EXPECT_EQ(count(page, fmt::format("id=\"{}-summary\"", id)), 1U) << id;
    EXPECT_EQ(count(page, fmt::format("role=\"img\" aria-labelledby=\"{0}-title {0}-summary\"", id)), 2U) << id;
  }
  EXPECT_THAT(page,
              AllOf(HasSubstr("The best is 2.25; 1 trial without a value."),
                    HasSubstr("4 begun, 3 went on or completed, 1 failed; 3 reached update 20, 2 went on or "
                              "completed, 1 stopped."),
                    HasSubstr("Most: optimizer.learning_rate."), HasSubstr("2 workers over 1 min 30 s."),
                    HasSubstr("1 of 2 points are beaten by no other in both."),
                    HasSubstr("<img alt=\"Trial 0 (point 0): 2.5: a teapot\" src=\"data:image/png;base64,TWFu\">"),
                    HasSubstr("<pre>dormer train base.yaml --set trial=3</pre>"),
                    HasSubstr("<td>3</td><td class=\"text\">the loss was not finite</td>"),
                    HasSubstr("<th scope=\"row\">run.steps</th><td>40</td>")));
  EXPECT_EQ(count(page, "class=\"trial "), 4U);
  EXPECT_EQ(count(page, "class=\"trial failed\""), 1U);
}

TEST(SweepPage, RanksPointsWithTheirIntervals) {
  const Table table = leaderboard_tables(SweepView(a_sweep())).at(0);
  EXPECT_THAT(table.head, ElementsAre("place", "validation loss", "point", "state", "learning_rate", "kind", "axis",
                                      "seeds", "updates", "time"));
  EXPECT_THAT(table.rows[0], ElementsAre("1", "2.2500 ± 0.1250", "1", "complete", "1e-3", "dora", "input", "1 of 1",
                                         "40", "1 min 00 s"));
  EXPECT_THAT(table.rows[3], ElementsAre("4", "none", "3", "failed", "1e-5", "dora", "", "1 of 1", "40", "1 min 00 s"));
  EXPECT_EQ(table.intervals[0]->half_width, 0.125);
  EXPECT_TRUE(table.intervals[2]->quiet);
  EXPECT_FALSE(table.intervals[3].has_value());
}

TEST(SweepPage, DrawsWhereTrialsLie) {
  const SweepView view(a_sweep());
  const Plot history = history_plot(view);
  EXPECT_EQ(history.series[0].name, "complete");
  EXPECT_THAT(history.series[0].x, ElementsAre(0.0, 1.0));
  EXPECT_THAT(history.series[0].y, ElementsAre(2.5, 2.25));
  EXPECT_THAT(history.series[0].labels[1], "trial 1 (point 1): 2.25, complete after 40 updates");
  EXPECT_THAT(history.series.back().x, ElementsAre(0.0, 1.0, 3.0));  // the best so far, to the last trial
  EXPECT_THAT(history.series.back().y, ElementsAre(2.5, 2.25, 2.25));
  const Parallel parallel = parallel_plot(view);
  EXPECT_EQ(parallel.axes.size(), 4U);
  // From below: the failed one, then from the worst to the best. 1e-5 to 1e-2 lie evenly on their logarithm.
  EXPECT_EQ(parallel.lines[0].colour, "failed");
  EXPECT_EQ(parallel.lines[3].colour, "v0");
  EXPECT_EQ(parallel.lines[3].label, "trial 1 (point 1): 2.25");
  EXPECT_NEAR(parallel.lines[3].heights[0], 2.0 / 3.0, 1e-12);
  EXPECT_EQ(parallel.lines[3].heights[3], 0.0);
  EXPECT_EQ(parallel.lines[1].heights[3], 1.0);
  EXPECT_EQ(parallel.lines[1].heights[2], 0.0);  // without an axis: below
  EXPECT_EQ(parallel.lines[1].texts[2], "not set");
  EXPECT_GT(parallel.lines[3].heights[2], 0.14);
  const PlotGrid grid = slices(view);
  EXPECT_THAT(grid.plots[1].x_axis.categories, ElementsAre("dora", "lora"));
  EXPECT_TRUE(grid.plots[0].x_axis.log);
  EXPECT_THAT(grid.plots[2].series[0].x.size(), 1U);  // one trial alone has an axis
  const Plot rungs = rungs_plot(view);
  EXPECT_THAT(rungs.series[0].y, ElementsAre(3.0, 2.0));
  EXPECT_EQ(rungs.series[2].name, "failed");
  EXPECT_THAT(rungs.series[2].base, ElementsAre(3.0));
  EXPECT_THAT(rungs.series[2].y, ElementsAre(4.0));
  const Plot timeline = timeline_plot(view);
  EXPECT_THAT(timeline.y_axis.categories, ElementsAre("node1:0", "node1:1"));
  EXPECT_THAT(timeline.series[1].base, ElementsAre(61.0));  // that of the stopped trial
  EXPECT_THAT(timeline.series[1].x, ElementsAre(90.0));
}

TEST(SweepPage, FetchesNothingAndEscapesWhatItPrints) {
  SweepRecord sweep = a_sweep();
  sweep.name = sweep.state = sweep.metric = kHostile;
  sweep.facts = sweep.config = {{kHostile, kHostile}};
  sweep.parameters[0].path = sweep.importances[0].path = kHostile;
  sweep.fronts[0].cost = kHostile;
  for (SweepTrial& trial : sweep.trials) {
    trial.state = trial.reason = trial.worker = trial.command = kHostile;
    trial.settings = {kHostile, kHostile, kHostile};
  }
  sweep.trials[0].images = {{kHostile, "image/png", "Man"}, {"no picture", "text/html\" onload=\"1", "<b>"}};
  for (SweepStanding& standing : sweep.standings) {
    standing.state = standing.seeds = kHostile;
    standing.settings = {kHostile, kHostile, kHostile};
  }
  for (WorkerSpan& span : sweep.timeline) {
    span.worker = kHostile;
  }
  const std::string page = sweep_page(sweep, "window.Plotly = {};");
  EXPECT_THAT(page, Not(HasSubstr("<b a=")));
  EXPECT_THAT(page, Not(HasSubstr("onload")));
  EXPECT_EQ(count(page, "</script>"), 3U);
  EXPECT_EQ(count(page, "src=\""), count(page, "src=\"data:image/png;base64,"));
  for (const char* part : {"http:", "https:", "href="}) {
    EXPECT_THAT(page, Not(HasSubstr(part)));
  }
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
}

TEST(SweepPage, ATrialThatDivergedDoesNotPressTheOthersTogether) {
  SweepRecord sweep = a_sweep();
  for (std::int64_t i = 4; i < 24; ++i) {
    sweep.trials.push_back(a_trial(i, Outcome::kComplete, {{40, 2.0 + 0.01 * static_cast<double>(i)}}));
    sweep.trials.back().settings = {"1e-3", "lora", std::nullopt};
  }
  sweep.trials[4].values = {{40, 1e6}};
  sweep.trials[5].values = {{20, 2.0}, {40, std::numeric_limits<double>::quiet_NaN()}};
  sweep.trials[6].values = {{40, std::numeric_limits<double>::infinity()}};
  sweep.fronts[0].offers.push_back({7, std::numeric_limits<double>::quiet_NaN(), 1.0, true});
  sweep.standings[1].mean = std::numeric_limits<double>::infinity();
  const std::string page = sweep_page(sweep, {});
  EXPECT_THAT(page, Not(HasSubstr("nan")));
  EXPECT_THAT(page, Not(HasSubstr("inf\"")));
  EXPECT_THAT(page, HasSubstr("1 value beyond"));
  EXPECT_THAT(page, HasSubstr("trial 4 (point 4): 1e+06, complete after 40 updates"));  // its own value is told
  const Edge edge = SweepView(sweep).edge();
  EXPECT_FALSE(edge.beyond(3.5));
  EXPECT_LT(edge.inside(1e6), 4.0);
}

TEST(SweepPage, OfAMaximizedMetricTheLargestIsBest) {
  SweepRecord sweep = a_sweep();
  sweep.maximize = true;
  const SweepView view(sweep);
  EXPECT_THAT(history_plot(view).summary, HasSubstr("The best is 2.5;"));
  EXPECT_EQ(parallel_plot(view).lines.back().label, "trial 2 (point 2): 3.5");
  EXPECT_THAT(leaderboard_tables(view)[0].summary, HasSubstr("largest first"));
}

TEST(SweepPage, ALongSweepIsThinnedAndSaysSo) {
  SweepRecord sweep = a_sweep();
  for (std::int64_t i = 4; i < 10'000; ++i) {
    sweep.trials.push_back(a_trial(i, Outcome::kComplete, {{20, 3.0}, {40, 2.5 + 1e-5 * static_cast<double>(i)}}));
    sweep.trials.back().settings = {fmt::format("{}", 1e-4 + 1e-7 * static_cast<double>(i)), "lora", std::nullopt};
    sweep.trials.back().reason = std::string(100, 'r');
    sweep.timeline.push_back({"node2:0", i, 60.0 * static_cast<double>(i), 60.0 * static_cast<double>(i) + 50.0});
    SweepStanding standing = sweep.standings[0];
    standing.place = i + 1;
    standing.point = i;
    sweep.standings.push_back(standing);
  }
  const std::string page = sweep_page(sweep, {});
  EXPECT_LT(page.size(), 2'500'000U);
  EXPECT_THAT(page, AllOf(HasSubstr("300 of 10000 trials are drawn, the best ones among them."),
                          HasSubstr("300 of 10000 trials, the best ones among them; `dormer sweep export` writes all."),
                          HasSubstr("60 of 10000 trials are drawn"), HasSubstr("Up to place 200 of 10000."),
                          HasSubstr("The first 4000 of 9999 stretches are drawn.")));
  EXPECT_EQ(count(page, "class=\"trial "), 300U);
  const std::vector<std::size_t> some = SweepView(sweep).some(300);
  EXPECT_EQ(some.size(), 300U);
  EXPECT_TRUE(std::ranges::is_sorted(some));
  EXPECT_THAT(std::vector<std::size_t>(some.begin(), some.begin() + 3), ElementsAre(0, 1, 2));
  EXPECT_GT(some.back(), 9'900U);
}

TEST(SweepPage, ASweepThatDidNotBeginSaysSo) {
  SweepRecord sweep;
  sweep.name = "empty";
  sweep.metric = "loss";
  sweep.parameters = {{"x", false, false}};
  const std::string page = sweep_page(sweep, "window.Plotly = {};");
  EXPECT_THAT(page, AllOf(HasSubstr("No trial was measured yet."), HasSubstr("id=\"plots\">[]</script>")));
  EXPECT_THAT(page, Not(HasSubstr("nan")));
}

}  // namespace
}  // namespace dormer::report
