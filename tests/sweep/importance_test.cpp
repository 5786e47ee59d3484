#include "dormer/sweep/importance.hpp"

#include <cmath>
#include <functional>
#include <random>

#include <gmock/gmock.h>

#include "dormer/sweep/pareto.hpp"

namespace dormer::sweep {
namespace {

/// Complete points with these settings, ranked by these values.
std::vector<Standing> ranked(const std::vector<std::pair<Point, double>>& points) {
  std::vector<Standing> standings;
  for (std::size_t i = 0; i < points.size(); ++i) {
    Standing one;
    one.point = static_cast<std::int64_t>(i);
    one.settings = points[i].first;
    one.state = TrialState::kComplete;
    one.mean = points[i].second;
    one.by_value = true;
    standings.push_back(one);
  }
  std::ranges::stable_sort(standings, std::less(), [](const Standing& one) { return *one.mean; });
  return standings;
}

/// 200 points of a relevant and an irrelevant number, equally spread on a line or on its logarithm.
std::vector<Standing> two_numbers(const std::function<double(double)>& value, const std::function<double(double)>& at) {
  std::mt19937 random(5);
  std::vector<std::pair<Point, double>> points;
  for (int i = 0; i < 200; ++i) {
    const double relevant = static_cast<double>(random()) / 4294967296.0;
    const double irrelevant = static_cast<double>(random()) / 4294967296.0;
    points.push_back({{{"x", fmt::format("{}", at(relevant))}, {"y", fmt::format("{}", irrelevant)}}, value(relevant)});
  }
  return ranked(points);
}

TEST(Importances, TellTheRelevantParameterFromTheIrrelevantOne) {
  const auto value = [](double x) { return (x - 0.3) * (x - 0.3); };
  const std::vector<ParameterFacts> parameters{{"y", ParameterKind::kNumeric}, {"x", ParameterKind::kNumeric}};
  const std::vector<Importance> result = importances(two_numbers(value, [](double x) { return x; }), parameters);
  EXPECT_EQ(result[0].path, "x");
  EXPECT_EQ(result[0].points, 200);
  EXPECT_EQ(result[0].selected, 20);
  // The best tenth lies in a tenth of the line: with sharp densities p = 1, q = 10 there and 0 elsewhere, which is
  // 0.1 * 81 + 0.9 = 9. Kernels of the two densities blur the edges.
  EXPECT_GT(result[0].divergence, 5.0);
  EXPECT_LT(result[0].divergence, 9.0);
  // Chance: the variance of a density from 20 normal kernels of width h = 1.059 * 0.289 * 20^(-1/5) = 0.168 is at most
  // 1 / (2 sqrt(pi)) / h / 20 = 0.084 on average, with a spread of the same size.
  EXPECT_LT(result[1].divergence, 0.3);
  EXPECT_GT(result[0].share, 0.95);
  EXPECT_DOUBLE_EQ(result[0].share + result[1].share, 1.0);
}

TEST(Importances, AreTheSameOnALogarithm) {
  const auto value = [](double x) { return std::abs(x - 0.5); };
  const auto line = importances(two_numbers(value, [](double x) { return x; }),
                                std::vector<ParameterFacts>{{"x", ParameterKind::kNumeric}});
  const auto logarithm = importances(two_numbers(value, [](double x) { return std::pow(10.0, 6.0 * x - 6.0); }),
                                     std::vector<ParameterFacts>{{"x", ParameterKind::kLog}});
  const auto wrong_scale = importances(two_numbers(value, [](double x) { return std::pow(10.0, 6.0 * x - 6.0); }),
                                       std::vector<ParameterFacts>{{"x", ParameterKind::kNumeric}});
  EXPECT_DOUBLE_EQ(line[0].divergence, logarithm[0].divergence);  // the same cells
  EXPECT_LT(wrong_scale[0].divergence, 0.5 * line[0].divergence);
}

TEST(Importances, OfChoicesAreCountedByHand) {
  // Twenty points, ten of each; the five best have "a". With the uniform observation p(a) = (10 + 1/2) / 21 = 1/2 and
  // q(a) = (5 + 1/2) / 6 = 11/12, so the divergence is 1/2 (11/6 - 1)^2 + 1/2 (1/6 - 1)^2 = 25/36.
  // The rank takes 8 and 16 in turns: of the best, three and two: q(8) = 3.5 / 6, the divergence (1/6)^2.
  std::vector<std::pair<Point, double>> points;
  for (int i = 0; i < 20; ++i) {
    points.push_back({{{"kind", i < 10 ? "a" : "b"}, {"rank", i % 2 == 0 ? "8" : "16"}}, static_cast<double>(i)});
  }
  const std::vector<ParameterFacts> parameters{{"rank", ParameterKind::kChoice}, {"kind", ParameterKind::kChoice}};
  const std::vector<Importance> result = importances(ranked(points), parameters);
  EXPECT_EQ(result[0].path, "kind");
  EXPECT_NEAR(result[0].divergence, 25.0 / 36.0, 1e-14);
  EXPECT_NEAR(result[1].divergence, 1.0 / 36.0, 1e-14);
  EXPECT_NEAR(result[0].share, 25.0 / 26.0, 1e-14);
}

TEST(Importances, OfNumbersInStepsAreSmoothed) {
  // 21 steps, three points of each, in an order that has nothing to do with them. Counting would find the best 7 in 7
  // of 21 cells: a divergence of 1.53, more than that of the rank, which all of the best have in common. The numbers
  // are those of the same formulas in Python; sums of some hundred terms of about 1 differ by less than 1e-12.
  std::vector<std::pair<Point, double>> points;
  for (int i = 0; i < 63; ++i) {
    points.push_back({{{"dropout", fmt::format("{:.2f}", 0.01 * (i * 8 % 21))},
                       {"rank", fmt::format("{}", 4 << (i < 16 ? 1 : i % 4))}},
                      static_cast<double>(i)});
  }
  const std::vector<ParameterFacts> parameters{{"dropout", ParameterKind::kNumeric}, {"rank", ParameterKind::kLog}};
  const std::vector<Importance> result = importances(ranked(points), parameters);
  EXPECT_EQ(result[0].path, "rank");
  EXPECT_NEAR(result[0].divergence, 0.7088797072685811, 1e-12);
  EXPECT_NEAR(result[1].divergence, 0.012888323829062997, 1e-12);
}

TEST(Importances, OfConditionalParametersAreAboutThePointsThatHaveThem) {
  std::vector<std::pair<Point, double>> points;
  for (int i = 0; i < 60; ++i) {
    Point point{{"method", i % 3 == 0 ? "dora" : "lora"}};
    if (i % 3 == 0) {
      point.push_back({"axis", i < 30 ? "input" : "output"});
    }
    points.emplace_back(point, static_cast<double>(i));
  }
  const auto result = importances(ranked(points), std::vector<ParameterFacts>{{"axis", ParameterKind::kChoice}});
  EXPECT_EQ(result[0].points, 20);
  EXPECT_EQ(result[0].selected, 5);
  EXPECT_NEAR(result[0].divergence, 25.0 / 36.0, 1e-14);  // as above: all of the five best have "input"
}

TEST(Importances, LearnFromFailuresButNotFromPointsThatGoOn) {
  std::vector<std::pair<Point, double>> points;
  for (int i = 0; i < 20; ++i) {
    points.push_back({{{"kind", i < 10 ? "a" : "b"}}, static_cast<double>(i)});
  }
  std::vector<Standing> standings = ranked(points);
  for (std::size_t i = 10; i < 20; ++i) {
    standings[i].by_value = false;
    standings[i].mean.reset();
    standings[i].state = TrialState::kFailed;
  }
  const std::vector<ParameterFacts> parameters{{"kind", ParameterKind::kChoice}};
  EXPECT_NEAR(importances(standings, parameters)[0].divergence, 25.0 / 36.0, 1e-14);
  for (std::size_t i = 10; i < 20; ++i) {
    standings[i].state = TrialState::kRunning;
  }
  EXPECT_EQ(importances(standings, parameters)[0].points, 10);
  EXPECT_EQ(importances(standings, parameters)[0].divergence, 0.0);  // they all have "a"
}

TEST(Importances, OfFewPointsOrOneValueOrNoDifferenceAreNothing) {
  std::vector<std::pair<Point, double>> points;
  for (int i = 0; i < 9; ++i) {
    points.push_back({{{"x", fmt::format("{}", i)}, {"one", "7"}}, static_cast<double>(i)});
  }
  const std::vector<ParameterFacts> parameters{{"x", ParameterKind::kNumeric}, {"one", ParameterKind::kLog}};
  EXPECT_EQ(importances(ranked(points), parameters)[0].share, 0.0);
  points.push_back({{{"x", "9"}, {"one", "7"}}, 9.0});
  EXPECT_EQ(importances(ranked(points), parameters)[0].share, 1.0);
  EXPECT_EQ(importances(ranked(points), parameters)[1].share, 0.0);
  for (auto& [point, value] : points) {
    value = 1.0;  // all tied: all are among the best
  }
  EXPECT_EQ(importances(ranked(points), parameters)[0].selected, 10);
  EXPECT_EQ(importances(ranked(points), parameters)[0].divergence, 0.0);
}

std::vector<std::int64_t> points_of(const std::vector<Offer>& offers) {
  std::vector<std::int64_t> points;
  for (const Offer& offer : offers) {
    points.push_back(offer.point);
  }
  return points;
}

TEST(ParetoFront, KeepsWhatNothingBeats) {
  const std::vector<Offer> offers{{0, 3.0, 1.0}, {1, 2.0, 2.0}, {2, 2.5, 2.0}, {3, 2.0, 3.0},
                                  {4, 1.0, 9.0}, {5, 2.0, 2.0}, {6, 9.0, 9.0}, {7, 3.0, 1.5}};
  // 1 and 5 are equal and both stay; 2 costs the same and gives less; 3 and 7 give the same for more.
  EXPECT_THAT(points_of(pareto_front(offers, Goal::kMinimize)), ::testing::ElementsAre(0, 1, 5, 4));
  EXPECT_THAT(points_of(pareto_front(offers, Goal::kMaximize)), ::testing::ElementsAre(0, 6));
  EXPECT_TRUE(pareto_front({}, Goal::kMinimize).empty());
}

}  // namespace
}  // namespace dormer::sweep
