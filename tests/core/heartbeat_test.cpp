#include "dormer/core/heartbeat.hpp"

#include <gtest/gtest.h>

namespace dormer {
namespace {

TEST(Heartbeat, TellsWhatIsUnderWay) {
  Heartbeat heartbeat;
  EXPECT_EQ(heartbeat.state().phase, Heartbeat::Phase::kStart);
  heartbeat.enter(Heartbeat::Phase::kIo, "saving", 7);
  const Heartbeat::State state = heartbeat.state();
  EXPECT_EQ(state.phase, Heartbeat::Phase::kIo);
  EXPECT_EQ(state.what, "saving");
  EXPECT_EQ(state.step, 7);
  EXPECT_GE(state.seconds, 0.0);
}

TEST(Heartbeat, ChangesWithWhateverBeginsOrGetsOn) {
  Heartbeat heartbeat;
  const std::int64_t first = heartbeat.state().beats;
  EXPECT_EQ(heartbeat.state().beats, first) << "looking is no progress";
  heartbeat.begin_operation("barrier", 0);
  EXPECT_EQ(heartbeat.state().beats, first) << "waiting for others is no progress";
  heartbeat.progress();
  const std::int64_t second = heartbeat.state().beats;
  EXPECT_NE(second, first);
  heartbeat.enter(Heartbeat::Phase::kStep, "update", 1);
  EXPECT_NE(heartbeat.state().beats, second);
}

TEST(Heartbeat, NumbersOperationsAndKnowsWhichHaveNotReturned) {
  Heartbeat heartbeat;
  EXPECT_EQ(heartbeat.state().operation.number, 0);
  EXPECT_EQ(heartbeat.begin_operation("all_reduce", 40), 1);
  EXPECT_EQ(heartbeat.begin_operation("barrier", 0), 2);
  EXPECT_EQ(heartbeat.state().operation.under_way, 2);
  heartbeat.end_operation();
  EXPECT_EQ(heartbeat.state().operation.under_way, 1);
  EXPECT_EQ(heartbeat.state().operation.name, "barrier");
  heartbeat.end_operation();
  EXPECT_EQ(heartbeat.state().operation.under_way, 0);
}

TEST(Heartbeat, MeasuresUpdatesAlone) {
  Heartbeat heartbeat;
  heartbeat.enter(Heartbeat::Phase::kStep, "validation", 0);
  heartbeat.enter(Heartbeat::Phase::kIo, "saving", 0);
  EXPECT_EQ(heartbeat.state().usual_update, 0.0);
  heartbeat.enter(Heartbeat::Phase::kStep, "update", 0);
  heartbeat.progress();
  EXPECT_EQ(heartbeat.state().usual_update, 0.0) << "it is not over";
  heartbeat.enter(Heartbeat::Phase::kStep, "between updates", 1);
  EXPECT_GT(heartbeat.state().usual_update, 0.0);
}

}  // namespace
}  // namespace dormer
