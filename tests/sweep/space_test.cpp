#include "dormer/sweep/space.hpp"

#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"

namespace dormer::sweep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> grid_of(const Space& space) {
  std::vector<std::string> points;
  for (std::int64_t number = 0; number < space.grid_points().value_or(0); ++number) {
    points.push_back(text_of(space.grid_point(number)));
  }
  return points;
}

TEST(Space, HoldsEveryFormInTheOrderOfTheFile) {
  const Space space = parse_space(R"(
optimizer.learning_rate: {log: [1.0e-5, 1.0e-3]}
adapter.rank: [8, 16, 32]
adapter.alpha: 2*adapter.rank
adapter.decompose: [null, {axis: output}]
adapter.dropout: {uniform: [0, 0.3], step: 0.1}
batch.micro: {int: [1, 4]}
schedule.kind: cosine
zip: [{run.steps: [10, 20], schedule.warmup: [1, 2]}]
)");
  EXPECT_THAT(space.description(),
              ElementsAre("optimizer.learning_rate: 1e-05 to 0.001, logarithmic", "adapter.rank: 8, 16, 32",
                          "adapter.alpha: = 2*adapter.rank", "adapter.decompose: null, {axis: output}",
                          "adapter.dropout: 0 to 0.3, in steps of 0.1", "batch.micro: whole, 1 to 4",
                          "schedule.kind: always cosine", "run.steps+schedule.warmup: 10 | 1, 20 | 2"));
  EXPECT_EQ(space.parameters().size(), 6U);
  EXPECT_EQ(text_of(space.at(std::vector<double>{1e-4, 2.0, 1.0, 0.1, 3.0, 1.0})),
            "{optimizer.learning_rate: 0.0001, adapter.rank: 32, adapter.alpha: 64, adapter.decompose: {axis: output}, "
            "adapter.dropout: 0.1, batch.micro: 3, schedule.kind: cosine, run.steps: 20, schedule.warmup: 2}");
  EXPECT_FALSE(space.grid_points().has_value()) << "the learning rate says no number of steps";
}

TEST(Space, GivesTheCoordinatesOfItsPoints) {
  const Space space =
      parse_space("a.b: {log: [1.0e-5, 1.0e-3]}\na.c: [x, '8', {d: 1}]\na.e: {int: [3, 11], step: 4}\n");
  const Point point = space.at(std::vector<double>{3.5e-4, 2.0, 7.0});
  EXPECT_EQ(space.coordinate(0, point), 3.5e-4);
  EXPECT_EQ(space.coordinate(1, point), 2.0);
  EXPECT_EQ(space.coordinate(2, point), 7.0);
  EXPECT_EQ(space.coordinate(0, {{"a.b", "3.50e-04"}}), 3.5e-4) << "whoever wrote the number";
  EXPECT_EQ(space.coordinate(0, {{"a.b", "0.1"}}), std::nullopt) << "out of range";
  EXPECT_EQ(space.coordinate(1, {{"a.c", "8"}}), std::nullopt) << "the number is not the text";
  EXPECT_EQ(space.coordinate(2, {{"a.e", "8"}}), std::nullopt) << "between two steps";
  EXPECT_EQ(space.coordinate(2, {}), std::nullopt);
  EXPECT_TRUE(space.holds(point));
  EXPECT_FALSE(space.holds({{"a.b", "0.0001"}, {"a.c", "x"}}));
  EXPECT_FALSE(space.holds({{"a.b", "0.0001"}, {"a.c", "x"}, {"a.e", "4"}}));
  EXPECT_TRUE(space.holds({{"a.e", "11"}, {"a.b", "1e-4"}, {"a.c", "x"}})) << "in any order";
}

TEST(Space, WritesNumbersInTheShortestFormThatReadsBack) {
  const Space space = parse_space("a.b: {uniform: [0, 1]}\n");
  for (const double value : {0.1, 1.0 / 3.0, 1e-7, 0.30000000000000004, 1.0}) {
    const Point point = space.at(std::vector{value});
    EXPECT_EQ(std::stod(point.front().text), value);
  }
  EXPECT_EQ(space.at(std::vector{0.1}).front().text, "0.1");
  EXPECT_EQ(space.at(std::vector{1.0}).front().text, "1");
}

TEST(Conditions, LeaveOutWhatDoesNotApply) {
  const Space space = parse_space(R"(
b.deep: {choice: [1, 2], when: {b.only: [u]}}
b.only: {choice: [u, v], when: {a.kind: [x, y]}}
a.kind: [x, y, z]
c.always: 5
d.derived: 10*b.deep
)");
  EXPECT_EQ(text_of(space.at(std::vector{1.0, 0.0, 0.0})),
            "{b.deep: 2, b.only: u, a.kind: x, c.always: 5, d.derived: 20}");
  EXPECT_EQ(text_of(space.at(std::vector{1.0, 1.0, 1.0})), "{b.only: v, a.kind: y, c.always: 5}");
  EXPECT_EQ(text_of(space.at(std::vector{1.0, 0.0, 2.0})), "{a.kind: z, c.always: 5}");
  EXPECT_EQ(space.coordinate(0, space.at(std::vector{1.0, 0.0, 2.0})), std::nullopt);
  EXPECT_TRUE(space.holds({{"a.kind", "z"}, {"c.always", "5"}}));
  EXPECT_FALSE(space.holds({{"a.kind", "z"}, {"c.always", "5"}, {"b.only", "u"}}));
}

TEST(Conditions, MayBeOnWholeNumbersNullAndConstants) {
  const Space space = parse_space(R"(
a.n: {int: [1, 3]}
a.m: [null, 1]
a.c: fixed
b.x: {uniform: [0, 1], when: {a.n: 2, a.m: null, a.c: fixed}}
b.y: {value: 3, when: {a.n: [1, 3]}}
)");
  EXPECT_EQ(text_of(space.at(std::vector{2.0, 0.0, 0.5})), "{a.n: 2, a.m: null, a.c: fixed, b.x: 0.5}");
  EXPECT_EQ(text_of(space.at(std::vector{2.0, 1.0, 0.5})), "{a.n: 2, a.m: 1, a.c: fixed}");
  EXPECT_EQ(text_of(space.at(std::vector{3.0, 0.0, 0.5})), "{a.n: 3, a.m: null, a.c: fixed, b.y: 3}");
}

TEST(Space, CompletesPointsThatOthersGive) {
  const Space space = parse_space(R"(
adapter.alpha: 2*adapter.rank
adapter.factor: {choice: [4, 8], when: {adapter.kind: lokr}}
adapter.kind: [lora, lokr]
adapter.rank: [8, 16]
schedule.kind: cosine
zip: [{run.steps: [10, 20], schedule.warmup: [1, 2]}]
)");
  const auto completed = [&](const Point& given) { return text_of(space.completed(given)); };
  // Values that the space does not have, in any order; what follows from them is filled in.
  EXPECT_EQ(completed({{"schedule.warmup", "3"}, {"run.steps", "30"}, {"adapter.rank", "5"}, {"adapter.kind", "lora"}}),
            "{adapter.alpha: 10, adapter.kind: lora, adapter.rank: 5, schedule.kind: cosine, run.steps: 30, "
            "schedule.warmup: 3}");
  const auto refusal = [&](const Point& given) -> std::string {
    try {
      return completed(given);
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kUsage);
      return error.what();
    }
  };
  EXPECT_EQ(refusal({{"run.steps", "30"}, {"adapter.rank", "5"}, {"adapter.kind", "lokr"}}),
            "the point has no adapter.factor and no schedule.warmup");
  const Point whole{{"run.steps", "30"}, {"schedule.warmup", "3"}, {"adapter.rank", "5"}, {"adapter.kind", "lora"}};
  const auto with = [&](const char* path, const char* text) {
    Point point = whole;
    point.push_back({path, text});
    return refusal(point);
  };
  EXPECT_THAT(with("adapter.factor", "4"), HasSubstr("adapter.factor: the sweep's space does not leave that open"));
  EXPECT_THAT(with("adapter.alpha", "3"), HasSubstr("adapter.alpha: the sweep's space does not"));
  EXPECT_THAT(with("schedule.kind", "linear"), HasSubstr("schedule.kind: the sweep's space does not"));
  EXPECT_THAT(with("model.path", "m"), HasSubstr("model.path: the sweep's space does not"));
}

TEST(Grid, TakesTheFirstAxisSlowest) {
  const Space space =
      parse_space("a.b: [1, 2]\nzip: [{c.d: [x, y], e.f: [u, v]}]\ng.h: {log: [1.0e-4, 1.0e-2], steps: 3}\n");
  EXPECT_EQ(space.grid_points(), 12);
  EXPECT_THAT(grid_of(space),
              ElementsAre("{a.b: 1, c.d: x, e.f: u, g.h: 0.0001}", "{a.b: 1, c.d: x, e.f: u, g.h: 0.001}",
                          "{a.b: 1, c.d: x, e.f: u, g.h: 0.01}", "{a.b: 1, c.d: y, e.f: v, g.h: 0.0001}",
                          "{a.b: 1, c.d: y, e.f: v, g.h: 0.001}", "{a.b: 1, c.d: y, e.f: v, g.h: 0.01}",
                          "{a.b: 2, c.d: x, e.f: u, g.h: 0.0001}", "{a.b: 2, c.d: x, e.f: u, g.h: 0.001}",
                          "{a.b: 2, c.d: x, e.f: u, g.h: 0.01}", "{a.b: 2, c.d: y, e.f: v, g.h: 0.0001}",
                          "{a.b: 2, c.d: y, e.f: v, g.h: 0.001}", "{a.b: 2, c.d: y, e.f: v, g.h: 0.01}"));
}

TEST(Grid, CountsWhatConditionsMakeEqualOnce) {
  const Space space = parse_space(R"(
x.first: [p, q]
b.x: {choice: [1, 2], when: {a.kind: [l, m]}}
a.kind: [l, m, n]
c.y: {choice: [5, 6, 7], when: {b.x: 2}}
)");
  const std::vector<std::string> points = grid_of(space);
  EXPECT_EQ(points.size(), 2U * (2U * (1U + 3U) + 1U));
  EXPECT_EQ(std::set(points.begin(), points.end()).size(), points.size());
  EXPECT_EQ(points.front(), "{x.first: p, b.x: 1, a.kind: l}");
  EXPECT_EQ(points[1], "{x.first: p, b.x: 2, a.kind: l, c.y: 5}");
  EXPECT_EQ(points.back(), "{x.first: q, a.kind: n}");
}

TEST(Grid, IsCountedWithoutGoingThroughIt) {
  const Space space = parse_space(R"(
a.k: {int: [1, 10000]}
a.l: {int: [1, 10000]}
a.m: {int: [1, 10000]}
b.x: {int: [1, 5], when: {a.k: 7, a.l: [7, 8], a.m: 9}}
c.x: {int: [1, 10000]}
)");
  // 1e12 of three ranges, of which two have five values of b.x instead of one; 1e4 of c.x
  EXPECT_EQ(space.grid_points(), (1'000'000'000'000 + 2 * 4) * 10'000);
  EXPECT_EQ(text_of(space.grid_point(0)), "{a.k: 1, a.l: 1, a.m: 1, c.x: 1}");
  const std::int64_t before = (6 * 100'000'000LL + 6 * 10'000LL + 8) * 10'000;  // points up to a.k 7, a.l 7, a.m 9
  EXPECT_EQ(text_of(space.grid_point(before - 1)), "{a.k: 7, a.l: 7, a.m: 8, c.x: 10000}");
  EXPECT_EQ(text_of(space.grid_point(before)), "{a.k: 7, a.l: 7, a.m: 9, b.x: 1, c.x: 1}");
  EXPECT_EQ(text_of(space.grid_point(before + 49'999)), "{a.k: 7, a.l: 7, a.m: 9, b.x: 5, c.x: 10000}");
  EXPECT_EQ(text_of(space.grid_point(before + 50'000)), "{a.k: 7, a.l: 7, a.m: 10, c.x: 1}");
  EXPECT_EQ(text_of(space.grid_point(*space.grid_points() - 1)), "{a.k: 10000, a.l: 10000, a.m: 10000, c.x: 10000}");
}

TEST(Grid, HasNoMorePointsThanCanBeNumbered) {
  std::string yaml;
  for (int index = 0; index < 6; ++index) {
    yaml += "a.p" + std::to_string(index) + ": {int: [1, 10000]}\n";
  }
  EXPECT_EQ(parse_space(yaml).grid_points(), std::int64_t{1} << 62);
}

TEST(Grid, OfARangeHasItsEndsAndRoundNumbers) {
  const auto grid = [](const std::string& range) { return parse_space("a.b: " + range).parameters()[0].grid(); };
  EXPECT_THAT(grid("{uniform: [0, 1], steps: 5}"), ElementsAre(0.0, 0.25, 0.5, 0.75, 1.0));
  EXPECT_THAT(grid("{uniform: [0, 0.3], step: 0.1}"), ElementsAre(0.0, 0.1, 0.2, 0.3));
  EXPECT_THAT(grid("{uniform: [0, 1], step: 0.3}"), ElementsAre(0.0, 0.3, 0.6, 0.9));
  EXPECT_THAT(grid("{log: [3.0e-5, 3.0e-3], steps: 3}"), ElementsAre(3e-5, 3e-4, 3e-3));
  EXPECT_THAT(grid("{int: [2, 5]}"), ElementsAre(2.0, 3.0, 4.0, 5.0));
  EXPECT_THAT(grid("{int: [1, 64], log: true, steps: 4}"), ElementsAre(1.0, 4.0, 16.0, 64.0));
  EXPECT_THAT(grid("{int: [1, 3], log: true, steps: 5}"), ElementsAre(1.0, 2.0, 3.0)) << "each once";
  EXPECT_THAT(grid("{int: [1, 10], step: 4}"), ElementsAre(1.0, 5.0, 9.0));
  EXPECT_THAT(grid("{uniform: [0, 1]}"), ElementsAre());
  EXPECT_THAT(grid("{int: [0, 1000000000000]}"), ElementsAre()) << "a grid of so many is a mistake";
}

TEST(Quantile, SpreadsUniformNumbersOverTheDimension) {
  const auto parameter = [](const std::string& text) { return parse_space("a.b: " + text).parameters()[0]; };
  EXPECT_EQ(parameter("{uniform: [2, 6]}").quantile(0.25), 3.0);
  EXPECT_NEAR(parameter("{log: [1.0e-4, 1.0e-2]}").quantile(0.5), 1e-3, 1e-17);
  EXPECT_EQ(parameter("[p, q, r]").quantile(0.34), 1.0);
  EXPECT_EQ(parameter("[p, q, r]").quantile(std::nextafter(1.0, 0.0)), 2.0);
  const auto shares = [&](const std::string& text) {
    std::map<double, int> counts;
    for (int index = 0; index < 6000; ++index) {
      ++counts[parameter(text).quantile((index + 0.5) / 6000.0)];
    }
    return counts;
  };
  EXPECT_EQ(shares("{int: [1, 3]}"), (std::map<double, int>{{1.0, 2000}, {2.0, 2000}, {3.0, 2000}}));
  EXPECT_EQ(shares("{uniform: [0, 0.2], step: 0.1}"), (std::map<double, int>{{0.0, 2000}, {0.1, 2000}, {0.2, 2000}}));
  // Whole numbers in the logarithm: log((n + 1/2) / (n - 1/2)) of log(3.5 / 0.5), each cut to 6000 draws.
  const std::map<double, int> logarithmic = shares("{int: [1, 3], log: true}");
  for (const double n : {1.0, 2.0, 3.0}) {
    EXPECT_NEAR(logarithmic.at(n), 6000.0 * std::log((n + 0.5) / (n - 0.5)) / std::log(7.0), 1.0) << n;
  }
}

TEST(Followers, AreExpressionsWhereTheyNamePathsOfTheSpace) {
  const Space space = parse_space(R"(
adapter.rank: [8, 16]
adapter.alpha: 2*rank
adapter.conv_rank: adapter.rank/4
adapter.conv_alpha: 2*adapter.conv_rank
run.seed: 12
run.name: "adapter.rank"
model.path: models/small
data.train: data/train.h5
)");
  EXPECT_EQ(text_of(space.at(std::vector{1.0})),
            "{adapter.rank: 16, adapter.alpha: 2*rank, adapter.conv_rank: 4, adapter.conv_alpha: 8, run.seed: 12, "
            "run.name: \"adapter.rank\", model.path: models/small, data.train: data/train.h5}");
}

struct BadSpace {
  const char* yaml;
  const char* message;  ///< a part of it, with the line
};

TEST(BadSpaces, AreRefusedWithTheLine) {
  std::vector<BadSpace> cases{
      {"[1, 2]\n", "the file holds a list"},
      {"a.b: []\n", "space:1: sweep.space.a.b: the list is empty"},
      {"a.b: [1, 2]\na.c: [3,\n  4, 3.0]\n", "space:3: sweep.space.a.c: 3.0 stands in the list a second time"},
      {"a.b: {log: [0, 1]}\n", "space:1: sweep.space.a.b: 0 has no logarithm"},
      {"a.b: {log: [-1, 1]}\n", "-1 has no logarithm"},
      {"a.b: {int: [0, 4], log: true}\n", "0 has no logarithm"},
      {"a.b: {uniform: [2, 1]}\n", "the lowest, 2, is not below the highest, 1"},
      {"a.b: {uniform: [1, 1]}\n", "the lowest, 1, is not below the highest, 1"},
      {"a.b: {uniform: [1]}\n", "uniform is [lowest, highest], two numbers"},
      {"a.b: {uniform: [1, x]}\n", "uniform is [lowest, highest], two numbers"},
      {"a.b: {uniform: [1, '2']}\n", "uniform is [lowest, highest], two numbers"},
      {"a.b: {int: [1, 2.5]}\n", "2.5 is not a whole number"},
      {"a.b: {int: [1, 1e17]}\n", "1e17 is not a whole number"},
      {"a.b: {log: [1, .inf]}\n", "log is [lowest, highest], two numbers"},
      {"a.b: {chioce: [1]}\n", "unknown key 'chioce'; did you mean 'choice'?"},
      {"a.b: {values: [1]}\n", "unknown key 'values'; write choice: […]"},
      {"a.b: {min: 1, max: 2}\n", "unknown key 'min'; write uniform: [lowest, highest]"},
      {"optimizer: {learning_rate: [1, 2]}\n", "a path is written with dots: 'optimizer.learning_rate: …'"},
      {"a.b: {}\n", "says nothing to try; write a list"},
      {"a.b: {when: {c.d: 1}}\nc.d: [1]\n", "says nothing to try"},
      {"a.b: {log: [1, 2], uniform: [1, 2]}\n", "log and uniform exclude each other"},
      {"a.b: {choice: [1], steps: 3}\n", "steps goes with a range of numbers, not with choice"},
      {"a.b: {choice: 3}\n", "choice is a list of values, not '3'"},
      {"a.b: {value: [3]}\n", "value is one value"},
      {"a.b: {log: [1, 2], step: 1}\n", "a logarithmic range has no step"},
      {"a.b: {uniform: [0, 1], step: 0}\n", "step is a number above 0, not '0'"},
      {"a.b: {uniform: [0, 1], step: 2}\n", "step is wider than the range"},
      {"a.b: {uniform: [0, 1], step: 1e-9}\n", "more than a million steps"},
      {"a.b: {uniform: [1e13, 2e13], step: 0.1}\n", "step is lost beside numbers of twelve digits"},
      {"a.b: {uniform: [-1e308, 1e308]}\n", "the range is wider than any number"},
      {"a.b: {int: [0, 9], step: 1.5}\n", "step is a whole number above 0"},
      {"a.b: {uniform: [0, 1], step: 0.1, steps: 3}\n", "step and steps exclude each other"},
      {"a.b: {uniform: [0, 1], steps: 1}\n", "steps, the values of a grid, is a whole number from 2"},
      {"a.b: [1]\na.c: [1]\na.b: [2]\n",
       "space:3: sweep.space.a.b: a.b stands here a second time; the first is in line 1"},
      {"a.b: {log: [1, 2],\n  log: [1, 2]}\n", "space:2: sweep.space.a.b: log stands here a second time"},
      {"a.b: [{c: 1}]\na.b.c: [1]\n", "space:2: sweep.space.a.b.c: a.b.c is a part of a.b (line 1); write one of them"},
      {"a.b.c: [1]\na.b: [{c: 1}]\n", "space:2: sweep.space.a.b: a.b.c is a part of a.b (line 1); write one of them"},
      {"zip: {a.b: [1]}\n", "space:1: sweep.space.zip: zip is a list of groups"},
      {"zip:\n  - {a.b: [1, 2],\n     a.c: [1]}\n", "space:3: sweep.space.zip.0: a.c has 1 values, a.b has 2"},
      {"zip: [{a.b: []}]\n", "a.b is a list of values, not an empty one"},
      {"zip: [{a.b: 3}]\n", "a.b is a list of values"},
      {"zip: [[1]]\n", "a group is a map of paths and lists that move together, not a list"},
      {"zip: [{a.b: [1]}, {a.b: [2]}]\n", "a.b stands here a second time"},
      {"a.b: {choice: [1], when: {c.d: 1}}\nc.e: [1]\n",
       "space:1: sweep.space.a.b: when: 'c.d' is no path of the space; did you mean 'c.e'?"},
      {"c.d: [x, y]\na.b: {choice: [1],\n  when: {c.d: z}}\n",
       "space:3: sweep.space.a.b: when: c.d is never z; it is x or y"},
      {"c.d: fixed\na.b: {choice: [1], when: {c.d: other}}\n", "when: c.d is never other; it is fixed"},
      {"c.d: {int: [1, 4]}\na.b: {choice: [1], when: {c.d: 5}}\n", "when: c.d is never 5"},
      {"c.d: {uniform: [1, 4]}\na.b: {choice: [1], when: {c.d: 2}}\n", "when: c.d is any number of a range"},
      {"c.d: [1, 2]\nc.e: 2*c.d\na.b: {choice: [1], when: {c.e: 2}}\n", "when: c.e is derived"},
      {"a.b: {choice: [1], when: c.d}\n", "when is a map of a path and its values"},
      {"a.b: {choice: [1], when: {c.d: []}}\nc.d: [1]\n", "when c.d has no value at all"},
      {"a.b: {choice: [1, 2], when: {a.c: 1}}\na.c: {choice: [1, 2], when: {a.b: 1}}\n", "depends on itself"},
      {"a.b: a.c + 1\na.c: a.b + 1\n", "space:1: sweep.space.a.b: depends on itself"},
      {"a.b: {choice: [1, 2], when: {a.b: 1}}\n", "depends on itself"},
      {"adapter.rank: [8]\nadapter.alpha: 2*adapter.rnak\n",
       "space:2: sweep.space.adapter.alpha: 'adapter.rnak' is no path of the space; did you mean 'adapter.rank'?"},
      {"adapter.rank: [8]\nadapter.alpha: adapter.rank*unheard\n", "'unheard' is no path of the space"},
      {"adapter.kind: [lora, lokr]\nadapter.alpha: 2*adapter.kind\n", "adapter.kind can be lora, which is no number"},
      {"adapter.rank: [8, null]\nadapter.alpha: 2*adapter.rank\n", "adapter.rank can be null, which is no number"},
  };
  const std::string long_value = "a.b: [1, " + std::string(5000, 'x') + "]\n";
  const std::string long_path = std::string(300, 'x') + ": [1]\n";
  cases.push_back({long_value.c_str(), "space:1: sweep.space.a.b: a value of 5000 characters; at most 4096"});
  cases.push_back({long_path.c_str(), "space:1: sweep.space: a path of 300 characters; at most 200"});
  std::string many = "a.b: [0";
  for (int value = 1; value <= 2000; ++value) {
    many += ", " + std::to_string(value);
  }
  many += "]\n";
  cases.push_back(
      {many.c_str(), "space:1: sweep.space: 2001 values; at most 2000 can be told one by one, write ranges"});
  for (const BadSpace& each : cases) {
    try {
      static_cast<void>(parse_space(each.yaml));
      ADD_FAILURE() << "accepted: " << each.yaml;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kUsage) << each.yaml;
      EXPECT_THAT(error.what(), HasSubstr(each.message)) << each.yaml;
    }
  }
}

TEST(BadSpaces, TellAllMistakesAtOnce) {
  try {
    static_cast<void>(parse_space("a.b: []\na.c: {log: [0, 1]}\na.d: {uniform: [2, 1]}\n"));
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "space:1: sweep.space.a.b: the list is empty; write the values to try\n"
                 "space:2: sweep.space.a.c: 0 has no logarithm; a logarithmic range lies above 0\n"
                 "space:3: sweep.space.a.d: the lowest, 2, is not below the highest, 1");
  }
}

}  // namespace
}  // namespace dormer::sweep
