#include "data/images/resample.hpp"

#include <cmath>
#include <numeric>

#include <gmock/gmock.h>

namespace dormer::data {
namespace {

using ::testing::ElementsAre;

double sum_of(const Taps& taps) {
  return std::accumulate(taps.weights.begin(), taps.weights.end(), 0.0);
}

/// The place in the source, in samples, that the taps stand for.
double centre_of(const Taps& taps) {
  double centre = 0.0;
  for (std::size_t i = 0; i < taps.weights.size(); ++i) {
    centre += (static_cast<double>(taps.first) + static_cast<double>(i) + 0.5) * static_cast<double>(taps.weights[i]);
  }
  return centre;
}

TEST(CubicTaps, AtTheSameSizeTakeTheSampleItself) {
  for (const double origin : {0.0, 5.0}) {
    const std::vector<Taps> taps = cubic_taps({.source = 20, .count = 15, .origin = origin, .step = 1.0});
    for (std::size_t i = 0; i < taps.size(); ++i) {
      EXPECT_EQ(taps[i].first, static_cast<std::int64_t>(i) + static_cast<std::int64_t>(origin));
      EXPECT_THAT(taps[i].weights, ElementsAre(1.0F));
    }
  }
}

// Keys (1981): weights of the cubic at a quarter between two samples.
TEST(CubicTaps, AreKeysPolynomial) {
  const std::vector<Taps> taps = cubic_taps({.source = 10, .count = 10, .origin = 0.25, .step = 1.0});
  EXPECT_EQ(taps[4].first, 3);
  EXPECT_THAT(taps[4].weights, ElementsAre(-0.0703125F, 0.8671875F, 0.2265625F, -0.0234375F));
}

TEST(Taps, AddUpToOneAndLieWhereTheirOutputDoes) {
  for (const double step : {0.1, 0.75, 1.0, 1.37, 4.0, 33.3}) {
    const Sampling sampling{.source = 1'000, .count = 20, .origin = 150.0, .step = step};
    for (const auto& taps : {cubic_taps(sampling), area_taps(sampling)}) {
      for (std::size_t i = 0; i < taps.size(); ++i) {
        EXPECT_NEAR(sum_of(taps[i]), 1.0, 1e-6);
      }
    }
    const std::vector<Taps> cubic = cubic_taps(sampling);
    for (std::size_t i = 0; i < cubic.size(); ++i) {
      // Exact for a cubic that is not widened (it keeps lines); a widened one is sampled, to a few hundredths.
      EXPECT_NEAR(centre_of(cubic[i]), 150.0 + (static_cast<double>(i) + 0.5) * step, step <= 1.0 ? 1e-4 : 0.03);
    }
  }
}

TEST(Taps, StayInsideOfTheSource) {
  for (const double step : {0.25, 1.0, 3.0}) {
    const Sampling sampling{.source = 12, .count = static_cast<std::int64_t>(12.0 / step), .origin = 0.0, .step = step};
    for (const auto& outputs : {cubic_taps(sampling), area_taps(sampling)}) {
      for (const Taps& taps : outputs) {
        EXPECT_GE(taps.first, 0);
        EXPECT_LE(taps.first + static_cast<std::int64_t>(taps.weights.size()), 12);
        EXPECT_NEAR(sum_of(taps), 1.0, 1e-6);
      }
    }
  }
}

TEST(AreaTaps, AreOverlaps) {
  const std::vector<Taps> taps = area_taps({.source = 6, .count = 2, .origin = 0.5, .step = 2.5});
  EXPECT_EQ(taps[0].first, 0);
  EXPECT_THAT(taps[0].weights, ElementsAre(0.2F, 0.4F, 0.4F));
  EXPECT_EQ(taps[1].first, 3);
  EXPECT_THAT(taps[1].weights, ElementsAre(0.4F, 0.4F, 0.2F));
  EXPECT_THAT(area_taps({.source = 4, .count = 8, .origin = 0.0, .step = 0.5})[3].weights, ElementsAre(1.0F));
}

TEST(Resample, WeighsRowsAndColumnsOfEachChannel) {
  const ReadRow read = [](std::int64_t y, std::int64_t first_column, std::span<float> row) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      const auto column = static_cast<float>(first_column + static_cast<std::int64_t>(i / 2));
      row[i] = i % 2 == 0 ? 100.0F * static_cast<float>(y) + column : -column;
    }
  };
  const std::vector<Taps> rows{{2, {0.5F, 0.5F}}, {7, {1.0F}}};
  const std::vector<Taps> columns{{3, {1.0F}}, {4, {0.25F, 0.75F}}, {9, {1.0F}}};
  EXPECT_THAT(resample(rows, columns, 2, read), ElementsAre(253.0F, -3.0F, 254.75F, -4.75F, 259.0F, -9.0F, 703.0F,
                                                            -3.0F, 704.75F, -4.75F, 709.0F, -9.0F));
}

TEST(Resample, ReadsEveryRowOnce) {
  std::vector<int> reads(100, 0);
  const ReadRow read = [&](std::int64_t y, std::int64_t, std::span<float> row) {
    ++reads[static_cast<std::size_t>(y)];
    std::ranges::fill(row, 1.0F);
  };
  const std::vector<Taps> taps = cubic_taps({.source = 100, .count = 30, .origin = 0.0, .step = 100.0 / 30.0});
  for (const float value : resample(taps, taps, 1, read)) {
    EXPECT_NEAR(value, 1.0F, 1e-6F);
  }
  EXPECT_THAT(reads, ::testing::Each(1));
}

}  // namespace
}  // namespace dormer::data
