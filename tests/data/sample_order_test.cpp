#include "dormer/data/sample_order.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include <gmock/gmock.h>

namespace dormer::data {
namespace {

std::vector<std::int64_t> epoch_of(const SampleOrder& order, std::int64_t epoch) {
  std::vector<std::int64_t> samples;
  for (std::int64_t i = 0; i < order.samples(); ++i) {
    samples.push_back(order.sample_at(epoch * order.samples() + i));
  }
  return samples;
}

std::vector<std::int64_t> count_up(std::int64_t samples) {
  std::vector<std::int64_t> result(static_cast<std::size_t>(samples));
  std::iota(result.begin(), result.end(), 0);
  return result;
}

TEST(SampleOrder, EveryEpochVisitsEverySampleOnce) {
  for (const std::int64_t samples : {1, 2, 3, 5, 16, 17, 1000, 4096, 5001}) {
    const SampleOrder order(samples, RandomKey{7}, true);
    for (const std::int64_t epoch : {0, 1, 9}) {
      std::vector<std::int64_t> visited = epoch_of(order, epoch);
      std::sort(visited.begin(), visited.end());
      EXPECT_EQ(visited, count_up(samples)) << samples << " samples, epoch " << epoch;
    }
  }
}

TEST(SampleOrder, DependsOnSeedAndEpochAlone) {
  const SampleOrder order(100, RandomKey{7}, true);
  EXPECT_EQ(epoch_of(order, 3), epoch_of(SampleOrder(100, RandomKey{7}, true), 3));
  EXPECT_NE(epoch_of(order, 3), epoch_of(order, 4));
  EXPECT_NE(epoch_of(order, 3), epoch_of(SampleOrder(100, RandomKey{8}, true), 3));
}

TEST(SampleOrder, WithoutShufflingIsTheFilesOrder) {
  EXPECT_EQ(epoch_of(SampleOrder(50, RandomKey{7}, false), 2), count_up(50));
}

TEST(SampleOrder, EveryPlaceIsAsLikelyForEverySample) {
  constexpr std::int64_t kSamples = 10;
  constexpr std::int64_t kEpochs = 20'000;
  const SampleOrder order(kSamples, RandomKey{3}, true);
  std::vector<double> counts(kSamples * kSamples, 0.0);
  for (std::int64_t epoch = 0; epoch < kEpochs; ++epoch) {
    for (std::int64_t place = 0; place < kSamples; ++place) {
      counts[static_cast<std::size_t>(place * kSamples + order.sample_at(epoch * kSamples + place))] += 1.0;
    }
  }
  // Each count is binomial with mean 2000 and deviation 42; 100 counts stay within five deviations but once in 20,000
  // runs.
  const double mean = static_cast<double>(kEpochs) / kSamples;
  for (const double count : counts) {
    EXPECT_NEAR(count, mean, 5.0 * std::sqrt(mean * 0.9));
  }
}

// This order is part of the promise that a run goes on after an upgrade: if it changes, resumed runs see other samples.
TEST(SampleOrder, IsTheSameInEveryRelease) {
  const SampleOrder order(1000, RandomKey{7}, true);
  EXPECT_THAT(
      std::vector<std::int64_t>({order.sample_at(0), order.sample_at(1), order.sample_at(2), order.sample_at(1000)}),
      ::testing::ElementsAre(974, 590, 242, 719));
}

TEST(UpdatesForEpochs, RoundsUp) {
  EXPECT_EQ(updates_for_epochs(1.0, 100, 8), 13);
  EXPECT_EQ(updates_for_epochs(2.0, 100, 8), 25);
  EXPECT_EQ(updates_for_epochs(0.5, 96, 8), 6);
  EXPECT_EQ(updates_for_epochs(0.01, 96, 8), 1);
}

}  // namespace
}  // namespace dormer::data
