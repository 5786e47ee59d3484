#include "dormer/data/crop_plan.hpp"

#include <cmath>
#include <set>

#include <gmock/gmock.h>

namespace dormer::data {
namespace {

using ::testing::ElementsAre;

TEST(PlanCrop, ScalesToCoverAndCutsTheMiddle) {
  const CropPlan plan = plan_crop({3000, 2000}, {1216, 832});
  EXPECT_EQ(plan.scaled, (ImageSize{1248, 832}));
  EXPECT_EQ(plan.top, 0);
  EXPECT_EQ(plan.left, 16);
  EXPECT_FALSE(plan.flip);
  EXPECT_THAT(plan.size_conditioning(), ElementsAre(2000, 3000, 0, 16, 832, 1216));
  EXPECT_EQ(plan_crop({1024, 1024}, {1024, 1024}).scaled, (ImageSize{1024, 1024}));
}

TEST(PlanCrop, IsTheSmallestThatCovers) {
  for (std::int64_t width = 8; width < 3'000; width += 61) {
    for (std::int64_t height = 8; height < 3'000; height += 97) {
      for (const ImageSize target : {ImageSize{512, 512}, {832, 1216}, {2048, 512}}) {
        const CropPlan plan = plan_crop({width, height}, target, {.jitter = true}, RandomKey{3}.child(77));
        EXPECT_TRUE(plan.scaled.width == target.width || plan.scaled.height == target.height);
        EXPECT_GE(plan.scaled.width, target.width);
        EXPECT_GE(plan.scaled.height, target.height);
        const double scale = std::max(static_cast<double>(target.width) / static_cast<double>(width),
                                      static_cast<double>(target.height) / static_cast<double>(height));
        EXPECT_NEAR(static_cast<double>(plan.scaled.width), scale * static_cast<double>(width), 0.5 + 1e-9);
        EXPECT_NEAR(static_cast<double>(plan.scaled.height), scale * static_cast<double>(height), 0.5 + 1e-9);
        EXPECT_GE(plan.left, 0);
        EXPECT_LE(plan.left + target.width, plan.scaled.width);
        EXPECT_GE(plan.top, 0);
        EXPECT_LE(plan.top + target.height, plan.scaled.height);
      }
    }
  }
}

TEST(PlanCrop, JitterReachesEveryPlaceAndHangsOnTheKeyAlone) {
  std::set<std::int64_t> places;
  for (std::uint64_t i = 0; i < 400; ++i) {
    const RandomKey key = RandomKey{5}.child(i);
    const CropPlan plan = plan_crop({522, 512}, {512, 512}, {.jitter = true}, key);
    EXPECT_EQ(plan, plan_crop({522, 512}, {512, 512}, {.jitter = true}, key));
    EXPECT_EQ(plan.top, 0);
    places.insert(plan.left);
  }
  // Each of 11 places is missed by 400 drawings once in 3e16 times.
  EXPECT_THAT(places, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
}

TEST(PlanCrop, FlipsAsOftenAsAsked) {
  int flips = 0;
  for (std::uint64_t i = 0; i < 1'000; ++i) {
    const RandomKey key = RandomKey{5}.child(i);
    EXPECT_FALSE(plan_crop({512, 512}, {512, 512}, {}, key).flip);
    EXPECT_TRUE(plan_crop({512, 512}, {512, 512}, {.flip_probability = 1.0}, key).flip);
    flips += plan_crop({512, 512}, {512, 512}, {.flip_probability = 0.25}, key).flip ? 1 : 0;
  }
  EXPECT_NEAR(flips, 250, 69);  // five deviations of 13.7
}

}  // namespace
}  // namespace dormer::data
