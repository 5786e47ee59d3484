#include "data/images/pixels.hpp"

#include <algorithm>
#include <cstring>

#include <gmock/gmock.h>

namespace dormer::data {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatEq;
using ::testing::FloatNear;

template <typename Sample>
DecodedImage decoded(ImageSize size, std::int64_t channels, const std::vector<Sample>& samples) {
  auto* copy = new Sample[samples.size()];
  std::ranges::copy(samples, copy);
  DecodedImage image{.size = size, .channels = channels, .bits = sizeof(Sample) * 8};
  image.samples = {copy, [](const void* memory) { delete[] static_cast<const Sample*>(memory); }};
  return image;
}

CropPlan whole(ImageSize size) {
  return {.original = size, .scaled = size, .target = size};
}

float in_range(double value) {
  return static_cast<float>(value / 127.5 - 1.0);
}

TEST(CutImage, GrayIsThreeEqualChannels) {
  const auto image = decoded<std::uint8_t>({3, 1}, 1, {0, 51, 255});
  EXPECT_THAT(cut_image(image, whole({3, 1})),
              ElementsAre(-1.0F, FloatEq(in_range(51)), 1.0F, -1.0F, FloatEq(in_range(51)), 1.0F, -1.0F,
                          FloatEq(in_range(51)), 1.0F));
}

TEST(CutImage, ChannelsStandApartAndAlphaLiesOverWhite) {
  const auto image = decoded<std::uint8_t>({2, 1}, 4, {10, 20, 30, 255, 100, 0, 200, 51});
  // 51 of 255 is a fifth: (100 + 4 * 255) / 5 = 224.
  EXPECT_THAT(cut_image(image, whole({2, 1})),
              ElementsAre(FloatEq(in_range(10)), FloatEq(in_range(224)), FloatEq(in_range(20)), FloatEq(in_range(204)),
                          FloatEq(in_range(30)), FloatEq(in_range(244))));
}

TEST(CutImage, SixteenBitsKeepWhatEightDoNot) {
  const auto image = decoded<std::uint16_t>({2, 1}, 2, {65'535, 65'535, 1'000, 65'535});
  const std::vector<float> cut = cut_image(image, whole({2, 1}));
  EXPECT_EQ(cut[0], 1.0F);
  EXPECT_THAT(cut[1], FloatNear(in_range(1'000.0 / 257.0), 1e-6F));
}

TEST(CutImage, MirrorsBeforeItCuts) {
  const auto image = decoded<std::uint8_t>({4, 1}, 1, {0, 1, 2, 3});
  CropPlan plan{.original = {4, 1}, .scaled = {4, 1}, .left = 1, .target = {2, 1}};
  const auto first_channel = [&] {
    std::vector<float> cut = cut_image(image, plan);
    cut.resize(2);
    return cut;
  };
  EXPECT_THAT(first_channel(), ElementsAre(FloatEq(in_range(1)), FloatEq(in_range(2))));
  plan.left = 0;
  EXPECT_THAT(first_channel(), ElementsAre(FloatEq(in_range(0)), FloatEq(in_range(1))));
  plan.flip = true;
  EXPECT_THAT(first_channel(), ElementsAre(FloatEq(in_range(3)), FloatEq(in_range(2))));
}

TEST(CutImage, OvershootIsCutOff) {
  std::vector<std::uint8_t> samples(64, 0);
  std::fill(samples.begin() + 32, samples.end(), 255);  // rows of 8: black, then white
  const auto image = decoded({8, 8}, 1, samples);
  const CropPlan plan{.original = {8, 8}, .scaled = {24, 24}, .target = {24, 24}};
  for (const float value : cut_image(image, plan)) {
    EXPECT_GE(value, -1.0F);
    EXPECT_LE(value, 1.0F);
  }
}

TEST(CutMask, IsTheMeanOverWhatACellShows) {
  // Scaled to twice the size, so that a cell of 4 shows 2x2 of the mask; cut one cell in.
  std::vector<std::uint8_t> samples(6 * 4, 0);
  samples[2] = 255;  // first row
  samples[8] = 51;   // below it
  samples[4] = 255;
  const auto image = decoded({6, 4}, 1, samples);
  CropPlan plan{.original = {6, 4}, .scaled = {12, 8}, .left = 4, .target = {8, 8}};
  EXPECT_THAT(cut_mask(image, plan, {.cell = 4, .unmasked_weight = 0.0}),
              ElementsAre(FloatEq(0.3F), FloatEq(0.25F), 0.0F, 0.0F));
  EXPECT_THAT(cut_mask(image, plan, {.cell = 4, .unmasked_weight = 0.28}),
              ElementsAre(FloatEq(0.3F), FloatEq(0.28F), FloatEq(0.28F), FloatEq(0.28F)));
  plan.flip = true;
  EXPECT_THAT(cut_mask(image, plan, {.cell = 4, .unmasked_weight = 0.0}), ElementsAre(FloatEq(0.3F), 0.0F, 0.0F, 0.0F))
      << "columns 6 to 4 of the mirrored mask are columns 2 to 4, then 0 to 2";
}

TEST(CutMask, OfColoursIsTheirMeanOverBlack) {
  const auto image = decoded<std::uint8_t>({2, 1}, 4, {255, 255, 255, 51, 255, 0, 0, 255});
  EXPECT_THAT(cut_mask(image, whole({2, 1}), {.cell = 1, .unmasked_weight = 0.0}),
              ElementsAre(FloatEq(0.2F), FloatEq(1.0F / 3.0F)));
}

}  // namespace
}  // namespace dormer::data
