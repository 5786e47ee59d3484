#include "dormer/data/buckets.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"

namespace dormer::data {
namespace {

std::vector<Bucket> plan(std::vector<std::int64_t> resolutions, const BucketRules& rules = {}) {
  return plan_buckets(resolutions, rules);
}

bool has(const std::vector<Bucket>& buckets, ImageSize size) {
  return std::ranges::any_of(buckets, [&](const Bucket& bucket) { return bucket.size == size; });
}

// The sizes that SDXL was trained on (Podell et al. 2023, appendix I) between 1:2 and 2:1, with its area and step.
TEST(PlanBuckets, HoldsTheSizesOfSdxl) {
  const std::vector<Bucket> buckets = plan({1024}, {.step = 64, .max_aspect = 2.0});
  for (const ImageSize size :
       {ImageSize{1024, 1024}, {960, 1088}, {896, 1152}, {832, 1216}, {768, 1344}, {768, 1280}}) {
    EXPECT_TRUE(has(buckets, size)) << size.width << "x" << size.height;
    EXPECT_TRUE(has(buckets, {size.height, size.width})) << size.height << "x" << size.width;
  }
  EXPECT_FALSE(has(buckets, {704, 1472})) << "an aspect of 2.09";
}

TEST(PlanBuckets, KeepsAreaStepAndAspect) {
  for (const std::int64_t resolution : {256, 500, 512, 768, 1024, 1536}) {
    for (const std::int64_t step : {8, 32, 64}) {
      for (const double aspect : {1.0, 2.0, 4.0}) {
        const std::vector<Bucket> buckets = plan({resolution}, {.step = step, .max_aspect = aspect});
        const std::int64_t square = resolution / step * step;
        EXPECT_TRUE(has(buckets, {square, square})) << resolution;
        for (const Bucket& bucket : buckets) {
          const auto [width, height] = bucket.size;
          EXPECT_EQ(width % step + height % step, 0);
          EXPECT_LE(width * height, resolution * resolution);
          if (width != height) {
            EXPECT_GT(width * height, resolution * resolution - step * std::max(width, height));
          }
          EXPECT_LE(static_cast<double>(std::max(width, height)) / static_cast<double>(std::min(width, height)),
                    aspect);
          EXPECT_TRUE(has(buckets, {height, width}));
          EXPECT_EQ(std::ranges::count(buckets, bucket), 1);
        }
      }
    }
  }
}

TEST(PlanBuckets, DoesNotDependOnHowResolutionsAreWritten) {
  EXPECT_EQ(plan({768, 512, 768}), plan({512, 768}));
  std::vector<Bucket> both = plan({512});
  const std::vector<Bucket> second = plan({768});
  both.insert(both.end(), second.begin(), second.end());
  EXPECT_EQ(plan({512, 768}), both);
}

TEST(PlanBuckets, RefusesWhatMakesNone) {
  EXPECT_THROW(static_cast<void>(plan({})), Error);
  EXPECT_THROW(static_cast<void>(plan({63})), Error);
  EXPECT_THROW(static_cast<void>(plan({512}, {.step = 0})), Error);
  EXPECT_THROW(static_cast<void>(plan({512}, {.max_aspect = 0.5})), Error);
}

ImageSize chosen(ImageSize image, const std::vector<Bucket>& buckets) {
  return buckets[choose_bucket(image, buckets)].size;
}

TEST(ChooseBucket, TakesTheNearestAspect) {
  const std::vector<Bucket> buckets = plan({1024});
  EXPECT_EQ(chosen({2000, 2000}, buckets), (ImageSize{1024, 1024}));
  EXPECT_EQ(chosen({3000, 2000}, buckets), (ImageSize{1216, 832}));
  EXPECT_EQ(chosen({2000, 3000}, buckets), (ImageSize{832, 1216}));
  EXPECT_EQ(chosen({100'000, 1'000}, buckets), (ImageSize{2048, 512})) << "beyond all aspects: the longest";
  for (std::int64_t width = 500; width < 4'000; width += 37) {
    const ImageSize image{width, 1'100};
    const auto distance = [&](ImageSize size) {
      return std::abs(
          std::log(static_cast<double>(image.width * size.height) / static_cast<double>(image.height * size.width)));
    };
    const ImageSize best = chosen(image, buckets);
    for (const Bucket& bucket : buckets) {
      EXPECT_LE(distance(best), distance(bucket.size) + 1e-12);
    }
  }
}

TEST(ChooseBucket, OfEquallyNearOnesTheLarger) {
  const std::vector<Bucket> buckets{{{512, 256}, 512}, {{640, 320}, 512}};
  EXPECT_EQ(chosen({1'000, 500}, buckets), (ImageSize{640, 320}));
}

TEST(ChooseBucket, EnlargesOnlyWhereNoResolutionIsSmallEnough) {
  const std::vector<Bucket> buckets = plan({512, 768, 1024});
  EXPECT_EQ(chosen({1'024, 1'024}, buckets), (ImageSize{1024, 1024}));
  EXPECT_EQ(chosen({1'023, 1'023}, buckets), (ImageSize{768, 768}));
  EXPECT_EQ(chosen({600, 600}, buckets), (ImageSize{512, 512}));
  EXPECT_EQ(chosen({100, 100}, buckets), (ImageSize{512, 512}));
}

}  // namespace
}  // namespace dormer::data
