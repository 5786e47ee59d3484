#include "cli/progress.hpp"

#include <gmock/gmock.h>

namespace dormer::cli {
namespace {

TEST(Progress, TimeIsReadable) {
  EXPECT_EQ(time_text(0.4), "0 s");
  EXPECT_EQ(time_text(59.4), "59 s");
  EXPECT_EQ(time_text(80), "1 min 20 s");
  EXPECT_EQ(time_text(7500), "2 h 05 min");
  EXPECT_EQ(time_text(-1), "0 s") << "an estimate may be late";
}

TEST(Progress, ALineHasRateLossAndTimeLeft) {
  train::Progress progress;
  progress.step = 12;
  progress.total = 40;
  progress.loss = 2.51306;
  progress.tokens_per_second = 453.6;
  progress.seconds_left = 80;
  EXPECT_EQ(progress_text(progress), "update 12/40  loss 2.5131  454 tokens/s  1 min 20 s left");
}

}  // namespace
}  // namespace dormer::cli
