#include "dormer/kernels/rows.hpp"
#include "dormer/kernels/scaling.hpp"

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "dormer/core/random_key.hpp"

namespace dormer::kernels {
namespace {

std::vector<float> uniform(std::size_t count, std::uint64_t seed, float scale) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    values[i] = scale * (2.0F * to_uniform(philox(RandomKey{seed}, i)[0]) - 1.0F);
  }
  return values;
}

TEST(Exponential, IsWithinTwoUlpOverItsWholeRange) {
  double worst = 0.0;
  for (float x = -87.0F; x <= 88.0F; x += 0.0137F) {
    const double exact = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::abs(static_cast<double>(exponential(x)) - exact) / (exact * 0x1p-23));
  }
  EXPECT_LT(worst, 2.0);
}

TEST(Exponential, KeepsLimitsAndNotANumber) {
  EXPECT_EQ(exponential(-std::numeric_limits<float>::infinity()), 0.0F);
  EXPECT_EQ(exponential(std::numeric_limits<float>::infinity()), std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(exponential(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_EQ(exponential(0.0F), 1.0F);
}

TEST(BFloat16, RoundsToNearestEvenAndKeepsNotANumber) {
  BFloat16 value;
  store(&value, 1.0F + 0x1p-8F);  // half way: down to the even 1.0
  EXPECT_EQ(load(&value), 1.0F);
  store(&value, 1.0F + 3 * 0x1p-8F);  // half way: up to the even one
  EXPECT_EQ(load(&value), 1.0F + 0x1p-6F);
  store(&value, std::bit_cast<float>(0x7F800001U));
  EXPECT_TRUE(std::isnan(load(&value)));
  store(&value, std::numeric_limits<float>::max());
  EXPECT_TRUE(std::isinf(load(&value)));
}

/// Any way to cut the rows gives the same bits: threads must not change a result.
TEST(Rows, CrossEntropyDoesNotDependOnWhereRangesEnd) {
  constexpr std::int64_t kRows = 7;
  constexpr std::int64_t kVocabulary = 5'003;
  const std::vector<float> logits = uniform(kRows * kVocabulary, 3, 20.0F);
  const std::vector<std::int64_t> targets{0, 5'002, 17, -1, 4'096, 1, 2};
  std::vector<std::vector<float>> results;
  for (const std::int64_t cut : {0, 1, 4, 7}) {
    std::vector<float> work = logits;
    std::vector<float> losses(kRows);
    const CrossEntropyArguments<float> arguments{work.data(), targets.data(), losses.data(), kVocabulary, true, 0.25F};
    compute_range(arguments, {0, cut});
    compute_range(arguments, {cut, kRows});
    work.insert(work.end(), losses.begin(), losses.end());
    results.push_back(work);
  }
  for (const auto& result : results) {
    EXPECT_EQ(result, results.front());
  }
}

TEST(Rows, CrossEntropyMatchesItsFormulaAndLeavesOutNegativeTargets) {
  constexpr std::int64_t kVocabulary = 331;
  std::vector<float> logits = uniform(2 * kVocabulary, 5, 30.0F);
  const std::vector<float> before = logits;
  const std::vector<std::int64_t> targets{7, -1};
  std::vector<float> losses(2);
  compute_range(CrossEntropyArguments<float>{logits.data(), targets.data(), losses.data(), kVocabulary, true, 0.5F},
                {0, 2});
  double sum = 0.0;
  for (std::int64_t i = 0; i < kVocabulary; ++i) {
    sum += std::exp(static_cast<double>(before[static_cast<std::size_t>(i)]));
  }
  EXPECT_NEAR(losses[0], std::log(sum) - static_cast<double>(before[7]), 1e-5);
  EXPECT_EQ(losses[1], 0.0F);
  for (std::size_t i = 0; i < kVocabulary; ++i) {
    const double expected = 0.5 * (std::exp(static_cast<double>(before[i])) / sum - (i == 7 ? 1.0 : 0.0));
    EXPECT_NEAR(logits[i], expected, 1e-6);
    EXPECT_EQ(logits[kVocabulary + i], 0.0F);
  }
}

TEST(Rows, CausalSoftmaxSeesNoLaterKey) {
  constexpr std::int64_t kRows = 6;  // 3 positions from position 2 on, 2 heads each
  constexpr std::int64_t kKeys = 5;
  std::vector<float> scores = uniform(kRows * kKeys, 9, 4.0F);
  compute_range(CausalSoftmaxArguments<float>{scores.data(), kRows, kKeys, 2, 2, 0.5F}, {0, kRows});
  for (std::int64_t row = 0; row < kRows; ++row) {
    double sum = 0.0;
    for (std::int64_t key = 0; key < kKeys; ++key) {
      const float value = scores[static_cast<std::size_t>(row * kKeys + key)];
      EXPECT_EQ(value == 0.0F, key > 2 + row / 2);
      sum += static_cast<double>(value);
    }
    EXPECT_NEAR(sum, 1.0, 1e-6);
  }
}

TEST(Rows, CausalSoftmaxSeesItsWindowAndItsDocumentAlone) {
  constexpr std::int64_t kPositions = 7;
  const std::vector<std::int64_t> begin{0, 0, 0, 3, 3, 3, 3, 0, 0, 2, 2, 2, 2, 2};  // two samples
  std::vector<float> scores = uniform(4 * kPositions * kPositions, 10, 4.0F);       // two batches a sample
  compute_range(CausalSoftmaxArguments<float>{.scores = scores.data(),
                                              .rows = kPositions,
                                              .keys = kPositions,
                                              .rows_per_position = 1,
                                              .first_position = 0,
                                              .scale = 0.5F,
                                              .window = 3,
                                              .document_begin = begin.data(),
                                              .positions = kPositions,
                                              .batches_per_sample = 2},
                {0, 4 * kPositions});
  for (std::int64_t row = 0; row < 4 * kPositions; ++row) {
    const std::int64_t position = row % kPositions;
    const std::int64_t document = begin[static_cast<std::size_t>(row / kPositions / 2 * kPositions + position)];
    double sum = 0.0;
    for (std::int64_t key = 0; key < kPositions; ++key) {
      const float value = scores[static_cast<std::size_t>(row * kPositions + key)];
      EXPECT_EQ(value > 0.0F, key <= position && key > position - 3 && key >= document) << row << " " << key;
      sum += static_cast<double>(value);
    }
    EXPECT_NEAR(sum, 1.0, 1e-6);
  }
}

TEST(Rows, ScaledGradientSumsDoNotDependOnWhereColumnsAreCut) {
  constexpr std::int64_t kRows = 131;
  constexpr std::int64_t kWidth = 203;
  const std::vector<float> gradient = uniform(kRows * kWidth, 11, 1.0F);
  const std::vector<float> y = uniform(kRows * kWidth, 12, 1.0F);
  const std::vector<float> factor = uniform(kWidth, 13, 2.0F);
  std::vector<std::vector<float>> results;
  for (const std::int64_t cut : {0, 1, 64, 128, 170, 203}) {
    std::vector<float> scaled(gradient.size());
    std::vector<float> sums(kWidth);
    const ScaleColumnsBackwardArguments<float> arguments{gradient.data(), y.data(),    nullptr, factor.data(),
                                                         scaled.data(),   sums.data(), kRows,   kWidth};
    compute_range(arguments, {0, cut});
    compute_range(arguments, {cut, kWidth});
    scaled.insert(scaled.end(), sums.begin(), sums.end());
    results.push_back(scaled);
  }
  for (const auto& result : results) {
    EXPECT_EQ(result, results.front());
  }
}

TEST(Rows, ScaledGradientsMayTakeTheGradientsPlace) {
  constexpr std::int64_t kChannels = 3;
  constexpr std::int64_t kWidth = 1'203;
  const std::vector<float> y = uniform(2 * kChannels * kWidth, 31, 2.0F);
  const std::vector<float> factor = uniform(kChannels, 32, 2.0F);
  std::vector<float> apart(y.size());
  std::vector<float> in_place = uniform(y.size(), 33, 1.0F);
  const std::vector<float> gradient = in_place;
  std::vector<float> sums(2 * kChannels);
  std::vector<float> sums_in_place(2 * kChannels);
  compute_range(ScaleRowsBackwardArguments<float>{gradient.data(), y.data(), nullptr, factor.data(), apart.data(),
                                                  sums.data(), kChannels, kWidth},
                {0, 2 * kChannels});
  compute_range(ScaleRowsBackwardArguments<float>{in_place.data(), y.data(), nullptr, factor.data(), in_place.data(),
                                                  sums_in_place.data(), kChannels, kWidth},
                {0, 2 * kChannels});
  EXPECT_EQ(in_place, apart);
  EXPECT_EQ(sums_in_place, sums);
  for (std::int64_t row = 0; row < 2 * kChannels; ++row) {
    double sum = 0.0;
    double size = 0.0;
    for (std::int64_t i = row * kWidth; i < (row + 1) * kWidth; ++i) {
      const auto at = static_cast<std::size_t>(i);
      EXPECT_EQ(apart[at], gradient[at] * factor[static_cast<std::size_t>(row % kChannels)]);
      sum += static_cast<double>(gradient[at]) * static_cast<double>(y[at]);
      size += std::abs(static_cast<double>(gradient[at]) * static_cast<double>(y[at]));
    }
    EXPECT_NEAR(sums[static_cast<std::size_t>(row)], sum, size * 80 * 0x1p-24);  // 64 additions a lane, and the tree
  }
}

TEST(Rows, RotaryInverseUndoesRotary) {
  constexpr std::int64_t kPositions = 5;
  constexpr std::int64_t kGroups = 3;
  constexpr std::int64_t kHeads = 2;
  constexpr std::int64_t kWidth = 6;
  constexpr std::int64_t kCount = 2 * kPositions * kGroups * kHeads * kWidth;
  const std::vector<float> x = uniform(kCount, 21, 1.0F);
  std::vector<float> cosine;
  std::vector<float> sine;
  for (int i = 0; i < kPositions * kWidth / 2; ++i) {
    cosine.push_back(std::cos(0.37F * static_cast<float>(i)));
    sine.push_back(std::sin(0.37F * static_cast<float>(i)));
  }
  std::vector<float> heads(x.size());
  std::vector<float> back(x.size());
  compute_range(RotaryArguments<float>{x.data(), heads.data(), cosine.data(), sine.data(), kPositions, kGroups, kHeads,
                                       kWidth, false},
                {0, 2 * kPositions});
  compute_range(RotaryArguments<float>{heads.data(), back.data(), cosine.data(), sine.data(), kPositions, kGroups,
                                       kHeads, kWidth, true},
                {0, 2 * kPositions});
  for (std::size_t i = 0; i < x.size(); ++i) {
    EXPECT_NEAR(back[i], x[i], 4 * 0x1p-23);
  }
  EXPECT_NE(heads, x);
}

}  // namespace
}  // namespace dormer::kernels
