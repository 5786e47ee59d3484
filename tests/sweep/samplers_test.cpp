#include "dormer/sweep/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "sweep/parzen.hpp"
#include "sweep/sobol.hpp"

namespace dormer::sweep {
namespace {

using testing::ElementsAre;

constexpr const char* kMixed = R"(
optimizer.learning_rate: {log: [1.0e-5, 1.0e-2], steps: 3}
adapter.kind: [lora, lokr]
adapter.factor: {choice: [2, 4, 8], when: {adapter.kind: lokr}}
adapter.dropout: {uniform: [0, 0.4], step: 0.2}
adapter.rank: {int: [1, 64], log: true, steps: 2}
batch.micro: {int: [1, 3]}
adapter.alpha: 2*adapter.rank
zip: [{run.steps: [10, 20], schedule.warmup: [1, 2]}]
)";

/// A loss of any point: a fixed function of its text.
double loss_of(const Point& point) {
  double sum = 0.0;
  for (const char c : text_of(point)) {
    sum = std::fmod(sum * 1.7 + c, 97.0);
  }
  return sum;
}

/// The points of a sampler that is shown all before, every fifth of them failed.
std::vector<Observation> history(const Sampler& sampler, std::int64_t count) {
  std::vector<Observation> seen;
  for (std::int64_t number = 0; number < count; ++number) {
    Point point = sampler.propose(number, seen);
    const std::optional<double> value = number % 5 == 3 ? std::nullopt : std::optional(loss_of(point));
    seen.push_back({.number = number, .point = std::move(point), .value = value});
  }
  return seen;
}

class EverySampler : public testing::TestWithParam<std::string> {
 protected:
  static std::unique_ptr<Sampler> make(const Space& space, std::uint64_t seed) {
    return sampler_registry().get("method", GetParam())({.space = space, .seed = RandomKey{seed}});
  }
};

TEST_P(EverySampler, ProposesPointsOfTheSpace) {
  const Space space = parse_space(kMixed);
  const std::unique_ptr<Sampler> sampler = make(space, 3);
  for (const Observation& each : history(*sampler, 80)) {
    ASSERT_TRUE(space.holds(each.point)) << text_of(each.point);
    const bool lokr = std::ranges::find(each.point, Setting{"adapter.kind", "lokr"}) != each.point.end();
    EXPECT_EQ(space.coordinate(2, each.point).has_value(), lokr) << text_of(each.point);
  }
}

TEST_P(EverySampler, IsAFunctionOfSeedNumberAndWhatItIsShown) {
  const Space space = parse_space(kMixed);
  const std::unique_ptr<Sampler> sampler = make(space, 3);
  const std::vector<Observation> seen = history(*sampler, 60);
  const std::unique_ptr<Sampler> fresh = make(space, 3);
  for (std::int64_t number = 59; number >= 0; --number) {  // in another order, with and without calls between
    const std::span<const Observation> before = std::span(seen).first(static_cast<std::size_t>(number));
    EXPECT_EQ(fresh->propose(number, before), seen[static_cast<std::size_t>(number)].point) << number;
    EXPECT_EQ(sampler->propose(number, before), seen[static_cast<std::size_t>(number)].point) << number;
  }
}

TEST_P(EverySampler, LooksAtResultsOnlyWhereItSaysSo) {
  const Space space = parse_space(kMixed);
  const std::unique_ptr<Sampler> sampler = make(space, 3);
  std::vector<Observation> seen = history(*sampler, 60);
  for (Observation& each : seen) {
    each.value = -each.value.value_or(0.0);
  }
  int same = 0;
  for (std::int64_t number = 60; number < 70; ++number) {
    same += sampler->propose(number, seen) == sampler->propose(number, {}) ? 1 : 0;
  }
  EXPECT_EQ(same == 10, !sampler->learns());
}

TEST_P(EverySampler, TakesAnotherSeedForAnotherSweep) {
  if (GetParam() == "grid") {
    return;  // has nothing random
  }
  const Space space = parse_space(kMixed);
  std::vector<Point> first;
  std::vector<Point> second;
  for (std::int64_t number = 0; number < 9; ++number) {
    first.push_back(make(space, 3)->propose(number, {}));
    second.push_back(make(space, 4)->propose(number, {}));
  }
  EXPECT_NE(first, second);
}

TEST_P(EverySampler, HasOnePointInASpaceWithoutChoice) {
  const Space space = parse_space("adapter.rank: 8\nadapter.alpha: 2*adapter.rank\n");
  EXPECT_EQ(text_of(make(space, 0)->propose(0, {})), "{adapter.rank: 8, adapter.alpha: 16}");
}

TEST_P(EverySampler, KeepsOtherParametersWhenOneIsAdded) {
  if (GetParam() == "grid") {
    return;  // its axes are one product
  }
  const Space space = parse_space("a.b: {uniform: [0, 1]}\na.c: [1, 2, 3]\n");
  const Space larger = parse_space("a.b: {uniform: [0, 1]}\na.c: [1, 2, 3]\na.d: {uniform: [0, 1]}\n");
  for (std::int64_t number = 0; number < 20; ++number) {
    Point point = make(larger, 3)->propose(number, {});
    point.pop_back();
    EXPECT_EQ(point, make(space, 3)->propose(number, {}));
  }
}

INSTANTIATE_TEST_SUITE_P(Registry, EverySampler, testing::ValuesIn(sampler_registry().names()),
                         [](const auto& each) { return each.param; });

std::unique_ptr<Sampler> sampler(const char* method, const Space& space) {
  return sampler_registry().get("method", method)({.space = space, .seed = RandomKey{5}});
}

TEST(GridSampler, GivesEveryPointOnce) {
  const Space space = parse_space(kMixed);
  const std::unique_ptr<Sampler> grid = sampler("grid", space);
  ASSERT_EQ(grid->points(), 3 * (1 + 3) * 3 * 2 * 3 * 2);
  std::set<std::string> points;
  for (std::int64_t number = 0; number < *grid->points(); ++number) {
    points.insert(text_of(grid->propose(number, {})));
  }
  EXPECT_EQ(points.size(), 3U * (1U + 3U) * 3U * 2U * 3U * 2U);
}

TEST(RandomSampler, DrawsUniformly) {
  const Space space =
      parse_space("a.u: {uniform: [2, 4]}\na.l: {log: [1.0e-4, 1.0e-2]}\na.c: [p, q, r]\na.i: {int: [1, 4]}\n");
  const std::unique_ptr<Sampler> random = sampler("random", space);
  constexpr int kPoints = 4000;
  std::map<std::size_t, std::vector<int>> counts;
  for (int number = 0; number < kPoints; ++number) {
    const Point point = random->propose(number, {});
    const double shares[] = {(*space.coordinate(0, point) - 2.0) / 2.0,
                             (std::log10(*space.coordinate(1, point)) + 4.0) / 2.0, *space.coordinate(2, point) / 3.0,
                             (*space.coordinate(3, point) - 1.0) / 4.0};
    const std::size_t bins[] = {10, 10, 3, 4};
    for (std::size_t index = 0; index < 4; ++index) {
      counts[index].resize(bins[index]);
      ++counts[index].at(static_cast<std::size_t>(shares[index] * static_cast<double>(bins[index]) + 1e-9));
    }
  }
  for (const auto& [index, bins] : counts) {
    const double expected = static_cast<double>(kPoints) / static_cast<double>(bins.size());
    for (const int count : bins) {  // five standard deviations of a binomial count
      EXPECT_NEAR(count, expected, 5.0 * std::sqrt(expected)) << index;
    }
  }
}

TEST(RandomSampler, DrawsParametersApart) {
  const Space space = parse_space("a.x: {uniform: [-1, 1]}\na.y: {uniform: [-1, 1]}\n");
  for (const char* method : {"random", "quasi_random"}) {
    const std::unique_ptr<Sampler> chosen = sampler(method, space);
    constexpr int kPoints = 4096;
    double sum = 0.0;
    for (int number = 0; number < kPoints; ++number) {
      const Point point = chosen->propose(number, {});
      sum += *space.coordinate(0, point) * *space.coordinate(1, point);
    }
    // The product of two such numbers has the standard deviation 1/3: five of a mean of so many.
    EXPECT_NEAR(sum / kPoints, 0.0, 5.0 / 3.0 / std::sqrt(kPoints)) << method;
  }
}

TEST(QuasiRandomSampler, PutsOnePointInEveryStratum) {
  std::string yaml;
  for (int index = 0; index < 70; ++index) {
    yaml += "a.p" + std::to_string(index) + ": {uniform: [0, 1]}\n";
  }
  const Space space = parse_space(yaml);
  const std::unique_ptr<Sampler> quasi = sampler("quasi_random", space);
  constexpr std::int64_t kPoints = 64;
  std::vector<std::set<int>> strata(70);
  std::set<int> squares;
  for (std::int64_t number = 0; number < kPoints; ++number) {
    const Point point = quasi->propose(number, {});
    for (std::size_t index = 0; index < strata.size(); ++index) {
      strata[index].insert(static_cast<int>(*space.coordinate(index, point) * kPoints));
    }
    squares.insert(static_cast<int>(*space.coordinate(0, point) * 8) * 8 +
                   static_cast<int>(*space.coordinate(1, point) * 8));
  }
  for (std::size_t index = 0; index < kSobolDimensions; ++index) {
    EXPECT_EQ(strata[index].size(), static_cast<std::size_t>(kPoints)) << index;
  }
  EXPECT_EQ(squares.size(), static_cast<std::size_t>(kPoints))
      << "the first two dimensions are a net: one in each square";
  for (std::size_t index = kSobolDimensions; index < strata.size(); ++index) {
    EXPECT_LT(strata[index].size(), static_cast<std::size_t>(kPoints)) << "beyond them points are random";
  }
}

TEST(Sobol, IsJoesAndKuos) {
  // Their file of points, in Gray code's order: dimensions 1 to 5 of the first eight.
  const std::vector<std::vector<double>> points{{0, 0, 0, 0, 0},
                                                {0.5, 0.5, 0.5, 0.5, 0.5},
                                                {0.75, 0.25, 0.25, 0.25, 0.75},
                                                {0.25, 0.75, 0.75, 0.75, 0.25},
                                                {0.375, 0.375, 0.625, 0.875, 0.375},
                                                {0.875, 0.875, 0.125, 0.375, 0.875},
                                                {0.625, 0.125, 0.875, 0.625, 0.625},
                                                {0.125, 0.625, 0.375, 0.125, 0.125}};
  for (std::uint32_t index = 0; index < points.size(); ++index) {
    for (std::uint32_t dimension = 0; dimension < 5; ++dimension) {
      EXPECT_EQ(sobol(dimension, index) * 0x1p-32, points[index][dimension]) << index << " " << dimension;
    }
  }
}

/// The best value that a method finds in `count` points of a function.
double best_of(const char* method, const Space& space, std::uint64_t seed, std::int64_t count, const auto& function) {
  const auto chosen = sampler_registry().get("method", method)({.space = space, .seed = RandomKey{seed}});
  std::vector<Observation> seen;
  double best = std::numeric_limits<double>::infinity();
  for (std::int64_t number = 0; number < count; ++number) {
    Point point = chosen->propose(number, seen);
    const double value = function(point);
    best = std::min(best, value);
    seen.push_back({.number = number, .point = std::move(point), .value = value});
  }
  return best;
}

TEST(TpeSampler, FindsBetterPointsThanRandom) {
  const Space space = parse_space("a.x: {uniform: [-5, 5]}\na.y: {log: [1.0e-5, 1]}\na.k: [p, q, r]\n");
  const auto loss = [&](const Point& point) {
    const double y = std::log10(*space.coordinate(1, point)) + 3.0;
    const double x = *space.coordinate(0, point) - 1.0;
    return x * x + y * y + (*space.coordinate(2, point) == 1.0 ? 0.0 : 1.0);
  };
  std::vector<double> random;
  std::vector<double> tpe;
  for (std::uint64_t seed = 0; seed < 15; ++seed) {
    random.push_back(best_of("random", space, seed, 60, loss));
    tpe.push_back(best_of("tpe", space, seed, 60, loss));
  }
  std::ranges::sort(random);
  std::ranges::sort(tpe);
  EXPECT_LT(tpe[7], 0.5 * random[7]) << "medians of 15";
}

TEST(TpeSampler, DrawsItsFirstPointsAtRandom) {
  const Space space = parse_space(kMixed);
  const std::vector<Observation> seen = history(*sampler("tpe", space), 40);
  const std::unique_ptr<Sampler> random = sampler("random", space);
  std::int64_t measured = 0;
  for (const Observation& each : seen) {
    if (measured < 10) {
      EXPECT_EQ(each.point, random->propose(each.number, {})) << each.number;
    }
    measured += each.value ? 1 : 0;
  }
}

TEST(TpeSampler, LeavesFailedOnesOut) {
  const Space space = parse_space(kMixed);
  const std::unique_ptr<Sampler> tpe = sampler("tpe", space);
  std::vector<Observation> seen = history(*tpe, 40);
  const Point point = tpe->propose(40, seen);
  std::vector<Observation> measured;
  std::ranges::copy_if(seen, std::back_inserter(measured),
                       [](const Observation& each) { return each.value.has_value(); });
  EXPECT_EQ(tpe->propose(40, measured), point);
  for (Observation& each : seen) {
    each.value = each.value.value_or(std::numeric_limits<double>::quiet_NaN());
  }
  EXPECT_EQ(tpe->propose(40, seen), point) << "no number is a failure";
}

TEST(TpeSampler, RanksStoppedPointsBehindThoseThatWentOn) {
  const Space space = parse_space("a.x: {uniform: [0, 1]}\n");
  const std::unique_ptr<Sampler> tpe = sampler("tpe", space);
  std::vector<Observation> seen;
  for (std::int64_t number = 0; number < 40; ++number) {  // those above 1/2 were stopped early, with lower losses
    const double x = (static_cast<double>(number) + 0.5) / 40.0;
    const std::int64_t steps = x > 0.5 ? 5 : 100;
    seen.push_back({.number = number, .point = space.at(std::vector{x}), .value = 1.0 - x, .steps = steps});
  }
  double above = 0.0;
  double beside = 0.0;
  for (std::int64_t number = 40; number < 60; ++number) {
    above += *space.coordinate(0, tpe->propose(number, seen)) > 0.5 ? 1.0 : 0.0;
    std::vector<Observation> equal = seen;
    for (Observation& each : equal) {
      each.steps = 0;
    }
    beside += *space.coordinate(0, tpe->propose(number, equal)) > 0.5 ? 1.0 : 0.0;
  }
  EXPECT_LE(above, 3.0);
  EXPECT_GE(beside, 17.0);
}

TEST(Parzen, OfNoObservationIsThePrior) {
  const Space space = parse_space("a.b: [1, 2, 3, 4]\na.c: {uniform: [2, 4]}\n");
  const ParzenEstimator options(space.parameters()[0], {});
  const ParzenEstimator numbers(space.parameters()[1], {});
  EXPECT_DOUBLE_EQ(options.log_density(2.0), std::log(0.25));
  // A bell of width 2 around 3, cut at one width to both sides of half a width: its mass there is erf(0.5 / sqrt 2).
  const double top = -std::log(2.0 * std::sqrt(2.0 * M_PI)) - std::log(std::erf(0.5 / std::sqrt(2.0)));
  EXPECT_NEAR(numbers.log_density(3.0), top, 1e-12);
  EXPECT_NEAR(numbers.log_density(2.0), top - 0.125, 1e-12);
}

TEST(Parzen, IntegratesToOne) {
  const Space space =
      parse_space("a.c: {uniform: [2, 4]}\na.d: {int: [1, 9]}\na.e: {int: [1, 9], log: true}\na.f: [p, q, r]\n");
  const std::vector<double> reals{2.1, 3.9, 2.2, 3.0};
  const ParzenEstimator real(space.parameters()[0], reals);
  double sum = 0.0;
  constexpr int kSteps = 20'000;
  for (int step = 0; step < kSteps; ++step) {
    sum += std::exp(real.log_density(2.0 + 2.0 * (step + 0.5) / kSteps)) * 2.0 / kSteps;
  }
  EXPECT_NEAR(sum, 1.0, 1e-6);
  const std::vector<double> wholes{1.0, 9.0, 4.0};
  for (std::size_t index : {1U, 2U}) {
    const ParzenEstimator whole(space.parameters()[index], wholes);
    double total = 0.0;
    for (int value = 1; value <= 9; ++value) {
      total += std::exp(whole.log_density(value));
    }
    EXPECT_NEAR(total, 1.0, 1e-12);
  }
  const std::vector<double> options{0.0, 2.0, 2.0};
  const ParzenEstimator option(space.parameters()[3], options);
  EXPECT_NEAR(std::exp(option.log_density(0.0)) + std::exp(option.log_density(1.0)) + std::exp(option.log_density(2.0)),
              1.0, 1e-12);
}

TEST(Parzen, DrawsFromItsDensity) {
  const Space space = parse_space("a.c: {uniform: [0, 1]}\na.f: [p, q, r]\na.d: {int: [1, 9], log: true}\n");
  const std::vector<double> observations[] = {{0.1, 0.15, 0.9}, {0.0, 2.0, 2.0}, {1.0, 2.0, 8.0}};
  constexpr int kDraws = 20'000;
  for (std::size_t index = 0; index < 3; ++index) {
    const Parameter& parameter = space.parameters()[index];
    const ParzenEstimator estimator(parameter, observations[index]);
    std::map<int, double> expected;
    std::map<int, int> drawn;
    const auto bin = [&](double coordinate) {
      return index == 0 ? std::min(static_cast<int>(coordinate * 10), 9) : static_cast<int>(coordinate);
    };
    if (index == 0) {
      for (int step = 0; step < 10'000; ++step) {
        expected[bin((step + 0.5) / 10'000)] += std::exp(estimator.log_density((step + 0.5) / 10'000)) / 10'000;
      }
    } else {
      for (int value = index == 1 ? 0 : 1; value <= (index == 1 ? 2 : 9); ++value) {
        expected[value] = std::exp(estimator.log_density(value));
      }
    }
    for (std::uint64_t draw = 0; draw < kDraws; ++draw) {
      ++drawn[bin(estimator.sample(RandomKey{1}.child(draw)))];
    }
    for (const auto& [value, share] : expected) {  // five standard deviations of a binomial count
      EXPECT_NEAR(drawn[value], share * kDraws, 5.0 * std::sqrt(share * kDraws)) << index << " " << value;
    }
  }
}

}  // namespace
}  // namespace dormer::sweep
