#include "report/plot.hpp"

#include <cmath>

#include <gmock/gmock.h>

#include "report/escape.hpp"
#include "report/scale.hpp"
#include "report/text_count.hpp"

namespace dormer::report {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Plot empty_plot() {
  return {.id = "p", .title = "t", .x_label = "x", .y_label = "y", .summary = "s", .series = {}};
}

std::vector<std::string> texts_of(const std::vector<double>& values) {
  std::vector<std::string> texts;
  for (const double value : values) {
    texts.push_back(log_tick_text(value));
  }
  return texts;
}

TEST(LogTicks, AreRoundOnEveryWidth) {
  EXPECT_THAT(texts_of(log_ticks(1e-5, 1e-1)), ElementsAre("1e-5", "1e-4", "1e-3", "0.01", "0.1"));
  EXPECT_THAT(texts_of(log_ticks(9e-5, 2.1e-3)), ElementsAre("1e-4", "2e-4", "5e-4", "1e-3", "2e-3"));
  EXPECT_THAT(texts_of(log_ticks(8.0, 64.0)), ElementsAre("10", "20", "30", "40", "50", "60"));
  EXPECT_THAT(texts_of(log_ticks(1.0, 1e14)), ElementsAre("1", "100", "1e4", "1e6", "1e8", "1e10", "1e12", "1e14"));
}

TEST(Svg, DrawsLogarithmsByDecades) {
  Plot plot = empty_plot();
  plot.x_axis.log = true;
  plot.series = {
      {.name = "a", .x = {1.0, 10.0, 100.0}, .y = {0.0, 0.0, 0.0}, .labels = {"a", "b", "c"}, .mark = Mark::kPoints}};
  // 672 of 760 units without margins, 4% on both sides: the ends lie at 72 + 672 * 0.04 / 1.08 and the mirror of it.
  EXPECT_THAT(svg(plot), HasSubstr("cx=\"97.0\""));
  EXPECT_THAT(svg(plot), HasSubstr("cx=\"409.0\""));
  EXPECT_THAT(svg(plot), HasSubstr("cx=\"721.0\""));
}

TEST(Svg, BarsBeginAtTheirBaseAndStandBesideTheirNames) {
  Plot plot = empty_plot();
  plot.sideways = true;
  plot.y_label.clear();
  plot.y_axis.categories = {"first", "second"};
  plot.series = {{.name = "a",
                  .x = {4.0, 2.0},
                  .y = {0.0, 1.0},
                  .labels = {"four", "two"},
                  .mark = Mark::kBars,
                  .base = {1.0, 0.0}}};
  const std::string picture = svg(plot);
  // From 0 without padding to 4.16: 674 / 4.16 units each, from 72 on. The first name stands above.
  EXPECT_THAT(
      picture,
      HasSubstr("<rect class=\"bar c0\" x=\"234.0\" y=\"30.3\" width=\"486.1\" height=\"94.3\"><title>four</title>"));
  EXPECT_THAT(
      picture,
      HasSubstr("<rect class=\"bar c0\" x=\"72.0\" y=\"161.3\" width=\"324.0\" height=\"94.3\"><title>two</title>"));
  EXPECT_LT(picture.find(">first<"), picture.find(">second<"));
}

TEST(Svg, StepsStayUntilTheNextPoint) {
  Plot plot = empty_plot();
  plot.series = {
      {.name = "best", .x = {0.0, 1.0}, .y = {2.0, 1.0}, .labels = {}, .mark = Mark::kSteps, .colour = "c1"}};
  EXPECT_THAT(svg(plot), HasSubstr("<path class=\"line c1 d0\" d=\"M97.0 21.7H721.0V264.3\"/>"));
}

TEST(Svg, NamesThatFindNoRoomStandAslantAndAreShortened) {
  Plot plot = empty_plot();
  plot.small = true;
  plot.x_axis.categories = {"a name that is much too long to stand there", "b"};
  plot.series = {{.name = "a", .x = {0.0, 1.0}, .y = {1.0, 2.0}, .labels = {"a", "b"}, .mark = Mark::kPoints}};
  EXPECT_THAT(svg(plot), HasSubstr("rotate(-30)\" text-anchor=\"end\">a name that is mu…</text>"));
  plot.x_axis.categories = {"a", "b"};
  EXPECT_THAT(svg(plot), Not(HasSubstr("rotate(-30)")));
}

TEST(Svg, TextsOfTicksDoNotOverlap) {
  Plot plot = empty_plot();
  plot.small = true;
  plot.series = {{.name = "a", .x = {-1'234'567.0, 1'234'567.0}, .y = {1.0, 2.0}, .labels = {}}};
  const std::string picture = svg(plot);
  // Steps of 500000 are 59 units apart and their texts up to 52 wide.
  EXPECT_EQ(count(picture, "text-anchor=\"middle\">"), 5U + 2U);
}

TEST(ScriptData, SaysWhatIsNotAsUsual) {
  Plot plot = empty_plot();
  plot.x_axis.log = true;
  plot.y_axis.categories = {"</script>"};
  plot.sideways = plot.small = true;
  plot.series = {{.name = "n",
                  .x = {1.0, 100.0},
                  .y = {0.0, std::nan("")},
                  .labels = {"l", "m"},
                  .mark = Mark::kBars,
                  .labels_tell_all = true,
                  .listed = false,
                  .colour = "quiet",
                  .base = {0.5, 0.5}}};
  EXPECT_EQ(
      script_data(plot),
      "{\"id\":\"p\",\"x\":{\"label\":\"x\",\"log\":true,\"ticks\":[1,2,5,10,20,50,100],\"texts\":[\"1\",\"2\",\"5\","
      "\"10\",\"20\",\"50\",\"100\"]},\"y\":{\"label\":\"y\",\"categories\":[\"\\u003c/script>\"]},\"sideways\":true,"
      "\"small\":true,\"series\":[{\"name\":\"n\",\"mark\":\"bars\",\"x\":[1,100],\"y\":[0,null],\"labels\":[\"l\","
      "\"m\"],\"tellAll\":true,\"unlisted\":true,\"colour\":\"quiet\",\"base\":[0.5,0.5]}]}");
}

TEST(DataUri, IsBase64) {
  // The test vectors of RFC 4648.
  for (const auto& [bytes, text] : std::vector<std::pair<std::string, std::string>>{{"", ""},
                                                                                    {"f", "Zg=="},
                                                                                    {"fo", "Zm8="},
                                                                                    {"foo", "Zm9v"},
                                                                                    {"foob", "Zm9vYg=="},
                                                                                    {"fooba", "Zm9vYmE="},
                                                                                    {"foobar", "Zm9vYmFy"}}) {
    EXPECT_EQ(data_uri("image/png", bytes), "data:image/png;base64," + text);
  }
  EXPECT_EQ(data_uri("a/b", "\xFF\xFE\xFD"), "data:a/b;base64,//79");
}

TEST(Shortened, CountsLettersNotBytes) {
  EXPECT_EQ(shortened("éééé", 4), "éééé");
  EXPECT_EQ(shortened("éééééé", 4), "ééé…");
}

}  // namespace
}  // namespace dormer::report
