#include "dormer/config/values.hpp"

#include <string>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"

namespace dormer::config {
namespace {

TEST(Cadence, ReadsUpdatesEpochsAndTime) {
  EXPECT_EQ(Cadence::parse("20"), Cadence::steps(20));
  EXPECT_EQ(Cadence::parse("1 epoch"), (Cadence{Cadence::Unit::kEpochs, 1.0}));
  EXPECT_EQ(Cadence::parse("0.5 epochs"), (Cadence{Cadence::Unit::kEpochs, 0.5}));
  EXPECT_EQ(Cadence::parse("15 min"), Cadence::seconds(900));
  EXPECT_EQ(Cadence::parse("90s"), Cadence::seconds(90));
  EXPECT_EQ(Cadence::parse("2 h"), Cadence::seconds(7200));
}

TEST(Cadence, NullAndZeroAreNever) {
  for (const char* text : {"null", "~", "", "0", "0 min", "0 epochs"}) {
    EXPECT_EQ(Cadence::parse(text), Cadence::never()) << text;
  }
}

TEST(Cadence, RefusesWhatItCannotMean) {
  for (const char* text : {"-1", "1.5", "nan", "inf", "1e999", "15 minutes ago", "x", "epoch", "20 steps 3"}) {
    EXPECT_EQ(Cadence::parse(text), std::nullopt) << text;
  }
}

TEST(Cadence, TextReadsBackAsTheSameCadence) {
  for (const char* text : {"null", "20", "1 epoch", "2.5 epochs", "90 s", "15 min", "2 h", "0.25 s"}) {
    EXPECT_EQ(Cadence::parse(text)->text(), text);
  }
}

TEST(StepsOrShare, ReadsUpdatesAndShares) {
  EXPECT_EQ(StepsOrShare::parse("5")->steps_of(1000), 5);
  EXPECT_EQ(StepsOrShare::parse("3%")->steps_of(1000), 30);
  EXPECT_EQ(StepsOrShare::parse("3%")->text(), "3%");
  EXPECT_EQ(StepsOrShare::parse("7%")->steps_of(100), 7) << "0.07 * 100 is a little above 7";
  EXPECT_EQ(StepsOrShare::parse("1%")->steps_of(10), 1) << "a share of a short run is at least one update";
  for (const char* text : {"101%", "-1", "2.5", "five", "", "null"}) {
    EXPECT_EQ(StepsOrShare::parse(text), std::nullopt) << text;
  }
}

TEST(Duration, ReadsTimeAutoAndNull) {
  EXPECT_EQ(Duration::parse("90")->seconds, 90.0);
  EXPECT_EQ(Duration::parse("1.5 h")->seconds, 5400.0);
  EXPECT_EQ(Duration::parse("1.5 h")->text(), "90 min");
  EXPECT_TRUE(Duration::parse("auto")->automatic);
  EXPECT_EQ(Duration::parse("null"), Duration{});
  EXPECT_EQ(Duration::parse("soon"), std::nullopt);
}

TEST(Expression, FollowsTheRulesOfArithmetic) {
  const std::map<std::string, double> names{{"rank", 16.0}, {"adapter.rank", 8.0}};
  EXPECT_EQ(Expression{"2*rank"}.evaluate(names), 32.0);
  EXPECT_EQ(Expression{" 2 + 3 * rank - 10 / 4 "}.evaluate(names), 47.5);
  EXPECT_EQ(Expression{"-(1 + sqrt(rank)) * 2"}.evaluate(names), -10.0);
  EXPECT_EQ(Expression{"2*adapter.rank"}.evaluate(names), 16.0);
  EXPECT_EQ(Expression{"1.5e1"}.evaluate(names), 15.0);
  EXPECT_EQ(Expression{"8 - 4 - 2"}.evaluate(names), 2.0) << "the same level goes from left to right";
}

TEST(Expression, RefusesWithTheTextInTheMessage) {
  const std::map<std::string, double> names{{"rank", 16.0}};
  for (const std::string& text :
       {std::string("2*"), std::string("(rank"), std::string("2 rank"), std::string("rnak"), std::string("1/0"),
        std::string("sqrt(-1)"), std::string("nan"), std::string(")"), std::string(""), std::string("1e999"),
        std::string(5000, '('), std::string(5000, '-')}) {
    try {
      static_cast<void>(Expression{text}.evaluate(names));
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kUsage);
      EXPECT_THAT(error.what(), testing::HasSubstr("'" + text + "'"));
    }
  }
}

TEST(Expression, SuggestsTheNearestName) {
  try {
    static_cast<void>(Expression{"2*rnak"}.evaluate({{"rank", 16.0}}));
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("did you mean 'rank'?"));
  }
}

}  // namespace
}  // namespace dormer::config
