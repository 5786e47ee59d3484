#include "dormer/train/watchdog.hpp"

#include <gmock/gmock.h>

#include "train/hung_report.hpp"

namespace dormer::train {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

Heartbeat::State in(Heartbeat::Phase phase, double usual_update = 0.0) {
  Heartbeat::State state;
  state.phase = phase;
  state.usual_update = usual_update;
  return state;
}

TEST(Deadline, EachPhaseHasItsOwn) {
  const WatchdogSection section{.start = {.seconds = 10.0}, .step = {.seconds = 20.0}, .io = {.seconds = 30.0}};
  EXPECT_EQ(deadline_of(section, in(Heartbeat::Phase::kStart)), 10.0);
  EXPECT_EQ(deadline_of(section, in(Heartbeat::Phase::kStep, 1e6)), 20.0);
  EXPECT_EQ(deadline_of(section, in(Heartbeat::Phase::kIo)), 30.0);
}

TEST(Deadline, OfAnUpdateFollowsTheUsualOne) {
  const WatchdogSection section;
  EXPECT_EQ(deadline_of(section, in(Heartbeat::Phase::kStep)), 600.0);
  EXPECT_EQ(deadline_of(section, in(Heartbeat::Phase::kStep, 59.0)), 600.0);
  EXPECT_EQ(deadline_of(section, in(Heartbeat::Phase::kStep, 100.0)), 1000.0);
}

TEST(Deadline, OfFilesIsApart) {
  const WatchdogSection section{.start = {.seconds = {}, .automatic = true}};
  EXPECT_EQ(deadline_of(section, in(Heartbeat::Phase::kIo)), 45.0 * 60.0);
  EXPECT_EQ(deadline_of(section, in(Heartbeat::Phase::kStart)), 45.0 * 60.0);
}

TEST(Deadline, NullIsNone) {
  const WatchdogSection section{.start = {}, .step = {}, .io = {}};
  for (const auto phase : {Heartbeat::Phase::kStart, Heartbeat::Phase::kStep, Heartbeat::Phase::kIo}) {
    EXPECT_FALSE(deadline_of(section, in(phase)).has_value());
  }
}

HungRank at(int rank, std::int64_t operation, bool under_way) {
  return {.rank = rank,
          .host = "n1",
          .process = 70 + rank,
          .phase = "update",
          .step = 6,
          .seconds = 12.0,
          .operation = operation,
          .operation_name = "all_gather",
          .operation_bytes = 16,
          .operation_under_way = under_way};
}

TEST(Blame, FallsOnWhoDoesNotAnswer) {
  const std::string text = blame({at(0, 45, true), at(2, 45, true)}, {"n1", "n2", "n1"});
  EXPECT_THAT(text, AllOf(HasSubstr("rank 1 on host n2"), Not(HasSubstr("rank 0")), Not(HasSubstr("rank 2"))));
}

TEST(Blame, FallsOnWhoIsBehind) {
  const std::string text = blame({at(0, 45, true), at(1, 44, false), at(2, 45, true)}, {"n1", "n2", "n3"});
  EXPECT_THAT(text,
              AllOf(HasSubstr("rank 1 on host n2 did not reach operation 45 (all_gather)"), Not(HasSubstr("n3"))));
}

TEST(Blame, FallsOnTheNetworkWhereAllWaitForEachOther) {
  EXPECT_THAT(blame({at(0, 45, true), at(1, 45, true)}, {"n1", "n2"}), HasSubstr("network"));
  EXPECT_THAT(blame({at(0, 45, false)}, {"n1"}), HasSubstr("file system"));
}

TEST(HungReport, NamesRankHostStepPhaseAndOperation) {
  EXPECT_THAT(describe(at(1, 45, true)),
              AllOf(HasSubstr("rank 1 on host n1 (process 71)"), HasSubstr("update after step 6"), HasSubstr("12 s"),
                    HasSubstr("waiting in operation 45 (all_gather of 16 bytes)")));
}

TEST(HungReport, ReadsBack) {
  const std::optional<HungRank> read = parse_hung_rank(to_text(at(1, 45, true)));
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(describe(*read), describe(at(1, 45, true)));
  EXPECT_FALSE(parse_hung_rank("{\"rank\": 1").has_value()) << "half-written";
}

}  // namespace
}  // namespace dormer::train
