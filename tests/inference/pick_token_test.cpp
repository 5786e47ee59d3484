#include "inference/pick_token.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "dormer/core/error.hpp"
#include "dormer/core/random_key.hpp"

namespace dormer::inference {
namespace {

constexpr std::uint32_t kLargestWord = std::numeric_limits<std::uint32_t>::max();

/// Logits of the probabilities 0.5, 0.2, 0.2, 0.1, moved by a constant that no distribution depends on.
std::vector<float> known_logits() {
  std::vector<float> logits;
  for (const double probability : {0.2, 0.5, 0.1, 0.2}) {
    logits.push_back(static_cast<float>(std::log(probability) + 30.0));
  }
  return logits;
}

TEST(PickToken, GreedyTakesTheLikeliestWhateverTheWord) {
  for (const std::uint32_t word : {0U, 1'000'000'000U, kLargestWord}) {
    const PickedToken picked = pick_token(known_logits(), {.temperature = 0.0}, word);
    EXPECT_EQ(picked.token, 1);
    EXPECT_NEAR(picked.log_probability, std::log(0.5), 1e-5);
  }
}

TEST(PickToken, GreedyTakesTheFirstOfEqualLogits) {
  EXPECT_EQ(pick_token(std::vector<float>{1.0F, 4.0F, 4.0F}, {}, 0).token, 1);
}

TEST(PickToken, WordsCutTheUnitIntervalInOrderOfProbability) {
  const auto at = [](double uniform) {
    return pick_token(known_logits(), {.temperature = 1.0}, static_cast<std::uint32_t>(uniform * 0x1p32)).token;
  };
  EXPECT_EQ(at(0.0), 1);
  EXPECT_EQ(at(0.499), 1);
  EXPECT_EQ(at(0.501), 0);
  EXPECT_EQ(at(0.699), 0);
  EXPECT_EQ(at(0.701), 3);
  EXPECT_EQ(at(0.899), 3);
  EXPECT_EQ(at(0.901), 2);
  EXPECT_EQ(pick_token(known_logits(), {.temperature = 1.0}, kLargestWord).token, 2);
}

TEST(PickToken, DrawsFollowTheDistribution) {
  constexpr std::uint64_t kDraws = 20'000;
  std::array<int, 4> counts{};
  for (std::uint64_t step = 0; step < kDraws; ++step) {
    const std::uint32_t word = philox(RandomKey{17}, step)[0];
    ++counts.at(static_cast<std::size_t>(pick_token(known_logits(), {.temperature = 1.0}, word).token));
  }
  constexpr std::array kExpected{0.2, 0.5, 0.1, 0.2};
  for (std::size_t token = 0; token < counts.size(); ++token) {
    // Five standard deviations of a binomial share: sqrt(p (1 - p) / 20,000) is at most 0.0036.
    EXPECT_NEAR(counts.at(token) / static_cast<double>(kDraws), kExpected.at(token), 0.018) << token;
  }
}

TEST(PickToken, TopPKeepsTheSmallestSetThatReachesIt) {
  EXPECT_EQ(pick_token(known_logits(), {.temperature = 1.0, .top_p = 0.45}, kLargestWord).token, 1);
  EXPECT_EQ(pick_token(known_logits(), {.temperature = 1.0, .top_p = 0.6}, kLargestWord).token, 0);
  EXPECT_EQ(pick_token(known_logits(), {.temperature = 1.0, .top_p = 0.8}, kLargestWord).token, 3);
}

TEST(PickToken, TemperatureSharpens) {
  // At 0.5 probabilities are squared: 0.25 / 0.34 of the mass is token 1's.
  const auto at = [](double uniform) {
    return pick_token(known_logits(), {.temperature = 0.5}, static_cast<std::uint32_t>(uniform * 0x1p32)).token;
  };
  EXPECT_EQ(at(0.73), 1);
  EXPECT_EQ(at(0.74), 0);
}

TEST(PickToken, LogProbabilityIsTheModelsOwn) {
  const PickedToken picked = pick_token(known_logits(), {.temperature = 0.5, .top_p = 0.9}, kLargestWord);
  EXPECT_EQ(picked.token, 3);
  EXPECT_NEAR(picked.log_probability, std::log(0.2), 1e-5);
}

TEST(PickToken, LogitsThatAreNotFiniteAreANumericalError) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::vector<float>& logits :
       {std::vector<float>{0.0F, nan}, {nan, 0.0F}, {0.0F, kInfinity}, {-kInfinity, -kInfinity}}) {
    try {
      static_cast<void>(pick_token(logits, {}, 0));
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kNumerical);
    }
  }
}

TEST(PickToken, AnImpossibleTokenIsNeverPicked) {
  const std::vector<float> logits{0.0F, -std::numeric_limits<float>::infinity(), 0.0F};
  EXPECT_EQ(pick_token(logits, {.temperature = 1.0}, kLargestWord).token, 2);
}

}  // namespace
}  // namespace dormer::inference
