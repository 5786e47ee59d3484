#include "dormer/report/wording.hpp"

#include <gmock/gmock.h>

namespace dormer::report {
namespace {

using ::testing::ElementsAre;

TEST(ShortNames, AreAsShortAsTheyCanBe) {
  const std::vector<std::string> paths{
      "optimizer.learning_rate", "adapter.rank", "schedule.warmup", "text.warmup", "plain", "a.b.c", "x.b.c", "c"};
  EXPECT_THAT(short_names(paths),
              ElementsAre("learning_rate", "rank", "schedule.warmup", "text.warmup", "plain", "a.b.c", "x.b.c", "c"));
  EXPECT_THAT(short_names(std::vector<std::string>{"same.one", "same.one"}), ElementsAre("one", "one"));
}

TEST(DurationText, IsShort) {
  EXPECT_EQ(duration_text(0.0), "0 s");
  EXPECT_EQ(duration_text(0.44), "0.4 s");
  EXPECT_EQ(duration_text(9.96), "10 s");
  EXPECT_EQ(duration_text(59.6), "1 min 00 s");
  EXPECT_EQ(duration_text(3'599.4), "59 min 59 s");
  EXPECT_EQ(duration_text(3'600.0 * 5 + 7 * 60), "5 h 07 min");
  EXPECT_EQ(duration_text(3'600.0 * 51), "2 d 03 h");
  EXPECT_EQ(duration_text(-1.0), "0 s");
}

TEST(NumberOf, ReadsNumbersAlone) {
  EXPECT_EQ(number_of("1.0e-5"), 1.0e-5);
  EXPECT_EQ(number_of("+16"), 16.0);
  EXPECT_EQ(number_of("-0.5"), -0.5);
  for (const char* text : {"", "null", "16x", "nan", "inf", "[1, 2]", " 1"}) {
    EXPECT_FALSE(number_of(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace dormer::report
