#include <algorithm>
#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "dormer/kernels/optimizer_elements.hpp"
#include "optim/sliced_run.hpp"

namespace dormer::optim {
namespace {

using kernels::level_of_share;
using kernels::MomentCode;
using kernels::share_of_code;

TEST(MomentCodes, FindThemselvesAgainFromWhatTheyStandFor) {
  for (const float largest : {1.0F, 3e-7F, 0.7F, 1e-35F, 123.456F}) {
    for (int level = -127; level <= 127; ++level) {
      const float value = largest * share_of_code(MomentCode::kFirst, level);
      EXPECT_EQ(level_of_share(MomentCode::kFirst, value / largest, -1.0F), level) << largest;
    }
    for (int level = 0; level <= 255; ++level) {
      const float value = largest * share_of_code(MomentCode::kSecond, level);
      const bool lost = value < 1e-37F;  // below fp32's normal numbers digits are lost, and not the block's largest
      EXPECT_TRUE(lost || level_of_share(MomentCode::kSecond, value / largest, -1.0F) == level) << largest;
    }
    EXPECT_EQ(largest * share_of_code(MomentCode::kFirst, -127), -largest) << "the block's largest stays what it is";
    EXPECT_EQ(largest * share_of_code(MomentCode::kSecond, 255), largest);
  }
}

TEST(MomentCodes, AreRightInTheMeanOverRandomWords) {
  constexpr int kDraws = 4'096;
  for (const MomentCode code : {MomentCode::kFirst, MomentCode::kSecond}) {
    for (const float share : {0.9F, 0.31F, 0.04F, 1.7e-3F}) {
      double mean = 0.0;
      for (int draw = 0; draw < kDraws; ++draw) {
        mean += static_cast<double>(
                    share_of_code(code, level_of_share(code, share, (static_cast<float>(draw) + 0.5F) / kDraws))) /
                kDraws;
      }
      // Evenly spread chances hit the fraction within one draw; neighbours are at most 4 / 50 of the share apart.
      EXPECT_NEAR(mean, share, share * (0.16 / kDraws + 1e-6)) << share;
    }
  }
}

TEST(MomentCodes, KeepARootThatIsDividedByAboveZero) {
  for (const float chance : {-1.0F, 0.0F, 0.5F, 0.999F}) {
    EXPECT_GE(level_of_share(MomentCode::kSecond, 1e-25F, chance), 1);
    EXPECT_EQ(level_of_share(MomentCode::kSecond, 0.0F, chance), 0);
    EXPECT_EQ(level_of_share(MomentCode::kFirst, 0.0F, chance), 0);
    EXPECT_EQ(level_of_share(MomentCode::kSecond, 1.0F, chance), 255);
    EXPECT_EQ(level_of_share(MomentCode::kFirst, -1.0F, chance), -127);
  }
}

TEST(AdamW8Bit, StateIsAByteAnElementAndAFractionMore) {
  const OptimizerSettings settings = small_settings(1e-2);
  const auto optimizer = optimizer_registry().get("kind", "adamw_8bit")(
      {.settings = settings, .groups = plan_groups(small_entries(), kSmallSize, settings), .slice = {4'096, 12'288}});
  EXPECT_EQ(optimizer->state_bytes(), 2U * (8'192U + 8'192U / 256U * sizeof(float)));
}

/// Moments of gradients of one size: a first moment is off by up to a step of its code, 2 * 2 / 127 of the block's
/// largest at most, which is near 3 deviations here; a root of a second moment by half of 4 / c, c near 200.
TEST(AdamW8Bit, StaysBesideTheMomentsInFp32) {
  constexpr std::int64_t kUpdates = 20;
  SlicedRun whole("adamw", small_settings(1e-3), 1);
  SlicedRun coded("adamw_8bit", small_settings(1e-3), 1);
  for (std::int64_t step = 0; step < kUpdates; ++step) {
    const std::vector<float> gradients = noise(static_cast<std::uint64_t>(50 + step), 1e-2);
    whole.update(gradients, {.step = step});
    coded.update(gradients, {.step = step});
  }
  const std::vector<float> start = noise(1, 0.1);
  double difference = 0.0;
  double moved = 0.0;
  for (std::size_t i = 0; i < start.size(); ++i) {
    difference += std::pow(whole.values[i] - coded.values[i], 2.0);
    moved += std::pow(whole.values[i] - start[i], 2.0);
  }
  EXPECT_LT(std::sqrt(difference / moved), 0.06);
  EXPECT_GT(std::sqrt(difference / moved), 1e-4) << "else nothing was coded";
}

/// Gradients fall to a tenth in half of every block. Nearest codes would never follow: a decay of 1 % is less than
/// half of a code's step. Random ones follow in the mean.
TEST(AdamW8Bit, FollowsSecondMomentsThatFall) {
  SlicedRun whole("adamw", small_settings(1e-4), 1);
  SlicedRun coded("adamw_8bit", small_settings(1e-4), 1);
  for (std::int64_t step = 0; step < 320; ++step) {
    std::vector<float> gradients = noise(static_cast<std::uint64_t>(1'000 + step), 1e-2);
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      gradients[i] *= step >= 20 && i % 2 == 0 ? 0.1F : 1.0F;
    }
    whole.update(gradients, {.step = step});
    coded.update(gradients, {.step = step});
  }
  const std::vector<float> exact = whole.state();
  const std::vector<float> held = coded.state();
  double exact_sum = 0.0;
  double held_sum = 0.0;
  for (std::size_t i = 0; i < 1'500; i += 2) {  // elements of the first factor without padding
    exact_sum += exact[kSmallSize + i];
    held_sum += held[kSmallSize + i];
  }
  // 750 elements, each off by a third at most: the mean by a hundredth, three times over.
  EXPECT_NEAR(held_sum / exact_sum, 1.0, 0.04);
}

}  // namespace
}  // namespace dormer::optim
