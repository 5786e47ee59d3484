#include "sweep/pack_width.hpp"

#include <cmath>

#include <gmock/gmock.h>

namespace dormer::sweep {
namespace {

constexpr std::int64_t kSamples = 16;  // of a trial's update

/// Turns a pack whose turn of so many trials takes `seconds(trials)`, and returns the widths that it had.
template <typename Seconds>
std::vector<std::size_t> widths_of(PackWidth& pack, Seconds seconds, int turns = 200) {
  std::vector<std::size_t> widths{pack.width()};
  for (int turn = 0; turn < turns; ++turn) {
    const std::size_t width = pack.width();
    pack.note({.active = width,
               .updated = width,
               .samples = kSamples * static_cast<std::int64_t>(width),
               .seconds = seconds(width)});
    if (pack.width() != widths.back()) {
      widths.push_back(pack.width());
    }
  }
  return widths;
}

bool everything_fits(std::size_t /*width*/) {
  return true;
}

using ::testing::ElementsAre;

TEST(PackWidthTest, WhatWasAskedForIsTaken) {
  PackWidth pack(8, [](std::size_t) { return false; });
  EXPECT_THAT(widths_of(pack, [](std::size_t) { return 1.0; }), ElementsAre(8));
}

TEST(PackWidthTest, WhereAPackTakesAsLongAsItsTrialsTheyStayAlone) {
  PackWidth pack(std::nullopt, everything_fits);
  EXPECT_THAT(widths_of(pack, [](std::size_t width) { return 0.5 * static_cast<double>(width); }),
              ElementsAre(1, 2, 1));
}

// A device that takes 1 second for up to 12 trials, and then as long as its arithmetic.
TEST(PackWidthTest, APackGrowsWhileItGains) {
  PackWidth pack(std::nullopt, everything_fits);
  EXPECT_THAT(widths_of(pack, [](std::size_t width) { return std::max(1.0, static_cast<double>(width) / 12.0); }),
              ElementsAre(1, 2, 4, 8, 16, 32, 16));
}

TEST(PackWidthTest, ATenthMoreIsWorthIt) {
  for (const double gain : {1.09, 1.11}) {
    PackWidth pack(std::nullopt, everything_fits);
    const auto seconds = [gain](std::size_t width) {
      return static_cast<double>(width) / std::pow(gain, std::log2(static_cast<double>(width)));
    };
    EXPECT_EQ(widths_of(pack, seconds).back(), gain > 1.1 ? 64U : 1U) << gain;
  }
}

TEST(PackWidthTest, WhatDoesNotFitIsNotTried) {
  PackWidth pack(std::nullopt, [](std::size_t width) { return width <= 4; });
  EXPECT_THAT(widths_of(pack, [](std::size_t) { return 1.0; }), ElementsAre(1, 2, 4));
}

TEST(PackWidthTest, SlowTurnsAtTheBeginOfAWidthDoNotCountAndNorDoesOneBetween) {
  PackWidth pack(std::nullopt, everything_fits);
  int turn = 0;
  const auto seconds = [&](std::size_t /*width*/) {
    const int place = turn++ % 7;
    return place < 2 || place == 4 ? 30.0 : 1.0;
  };
  EXPECT_EQ(widths_of(pack, seconds).back(), 64U);
}

TEST(PackWidthTest, APackThatIsNotFullSaysNothing) {
  PackWidth pack(std::nullopt, everything_fits);
  for (int turn = 0; turn < 7; ++turn) {
    pack.note({.active = 1, .updated = 1, .samples = kSamples, .seconds = 1.0});
  }
  ASSERT_EQ(pack.width(), 2U);
  for (int turn = 0; turn < 100; ++turn) {
    pack.note({.active = 1, .updated = 1, .samples = kSamples, .seconds = 1.0});
  }
  EXPECT_EQ(pack.width(), 2U);
}

}  // namespace
}  // namespace dormer::sweep
