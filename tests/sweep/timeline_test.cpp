#include "dormer/sweep/timeline.hpp"

#include <gmock/gmock.h>

namespace dormer::sweep {
namespace {

using ::testing::ElementsAre;

Event at(double time, EventKind kind, std::int64_t trial = -1, std::int64_t attempt = 1, std::string worker = {}) {
  return {.kind = kind, .trial = trial, .attempt = attempt, .worker = std::move(worker), .time = 1000.0 + time};
}

std::vector<Stay> stays_of(const std::vector<Event>& events) {
  Timeline timeline;
  for (const Event& event : events) {
    timeline.apply(event);
  }
  return timeline.stays();
}

TEST(Timeline, StaysEndWithWhatBecameOfThem) {
  using enum EventKind;
  EXPECT_THAT(stays_of({at(0, kBegun), at(1, kStarted, 0, 1, "a"), at(2, kStarted, 1, 1, "b"), at(5, kMeasured, 0),
                        at(6, kStarted, 2, 1, "a"), at(7, kReleased, 1), at(8, kFailed, 2)}),
              ElementsAre(Stay{"a", 0, 1, 5}, Stay{"b", 1, 2, 7}, Stay{"a", 2, 6, 8}));
}

TEST(Timeline, ALostWorkersTrialsGoOnElsewhere) {
  using enum EventKind;
  EXPECT_THAT(
      stays_of({at(0, kBegun), at(1, kStarted, 0, 1, "a"), at(1, kStarted, 1, 1, "a"), at(2, kStarted, 2, 1, "b"),
                at(9, kLost, -1, 0, "a"), at(10, kStarted, 0, 3, "b"), at(11, kMeasured, 0, 1)}),
      ElementsAre(Stay{"a", 0, 1, 9}, Stay{"a", 1, 1, 9}, Stay{"b", 2, 2, 11}, Stay{"b", 0, 10, 11}))
      << "what a lost attempt still says ends nothing, and what goes on lasts until now";
}

TEST(Timeline, NothingIsNothing) {
  EXPECT_THAT(stays_of({}), ElementsAre());
  EXPECT_THAT(stays_of({at(0, EventKind::kBegun), at(1, EventKind::kMeasured, 4)}), ElementsAre());
}

}  // namespace
}  // namespace dormer::sweep
