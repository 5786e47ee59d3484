#include "dormer/kernels/dropout.hpp"

#include <cmath>
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "dormer/core/random_key.hpp"

namespace dormer::kernels {
namespace {

/// Dropped elements of `count` draws are binomial: six deviations around the mean, which fails once in 5e8 seeds.
void expect_share(std::int64_t dropped, std::int64_t count, double rate) {
  const double mean = rate * static_cast<double>(count);
  EXPECT_NEAR(static_cast<double>(dropped), mean, 6.0 * std::sqrt(mean * (1.0 - rate)));
}

TEST(DropoutMask, DropsItsShareAndKeepsTheMean) {
  constexpr std::int64_t kCount = 1 << 18;
  for (const double rate : {0.05, 0.1, 0.5, 0.9}) {
    const DropoutMask mask = dropout_mask(RandomKey{3}.child("site").value, rate);
    std::int64_t dropped = 0;
    std::int64_t dropped_neighbours = 0;
    for (std::int64_t i = 0; i < kCount; ++i) {
      const float value = mask(static_cast<std::uint64_t>(i));
      EXPECT_TRUE(value == 0.0F || value == static_cast<float>(1.0 / (1.0 - rate)));
      dropped += value == 0.0F ? 1 : 0;
      dropped_neighbours += i % 2 == 1 && value == 0.0F && mask(static_cast<std::uint64_t>(i - 1)) == 0.0F ? 1 : 0;
    }
    expect_share(dropped, kCount, rate);
    expect_share(dropped_neighbours, kCount / 2, rate * rate);
  }
}

TEST(DropoutMask, UsesTheWordsOfPhilox) {
  const RandomKey key{11};
  const DropoutMask mask = dropout_mask(key.value, 0.25);
  for (std::uint64_t i = 0; i < 64; ++i) {
    EXPECT_EQ(mask(i) == 0.0F, philox(key, i / 4)[i % 4] < (1U << 30)) << i;
  }
}

TEST(DropoutMask, RateZeroKeepsEverything) {
  const DropoutMask mask = dropout_mask(5, 0.0);
  for (std::uint64_t i = 0; i < 1'000; ++i) {
    EXPECT_EQ(mask(i), 1.0F);
  }
}

/// Any cut into ranges gives the functor's values, with a last group that is not whole.
TEST(Dropout, LoopsGiveTheFunctorsValues) {
  constexpr std::int64_t kCount = 4'099;
  const DropoutMask mask = dropout_mask(77, 0.3);
  std::vector<float> x(kCount);
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = 0.5F + static_cast<float>(i);
  }
  for (const std::int64_t parts : {1, 3, 64}) {
    std::vector<float> y(kCount, -1.0F);
    const std::int64_t quads = (kCount + 3) / 4;
    for (std::int64_t part = 0; part < parts; ++part) {
      compute_range(DropoutArguments<float>{x.data(), y.data(), kCount, mask},
                    {quads * part / parts, quads * (part + 1) / parts});
    }
    for (std::size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(y[i], x[i] * mask(i)) << i << " in " << parts << " parts";
    }
  }
}

}  // namespace
}  // namespace dormer::kernels
