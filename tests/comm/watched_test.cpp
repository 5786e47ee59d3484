#include "dormer/comm/watched.hpp"

#include <array>
#include <vector>

#include <gtest/gtest.h>

#include "dormer/comm/single.hpp"
#include "dormer/comm/threads.hpp"
#include "support/borrowed_communicator.hpp"

namespace dormer::comm {
namespace {

TEST(Watched, TellsNumberNameAndBytesUntilAnOperationHasReturned) {
  Heartbeat heartbeat;
  const std::unique_ptr<Communicator> ranks = watched(single(), heartbeat);
  std::vector<float> values(10);
  Pending reduction = ranks->all_reduce(view(std::span(values)), ReduceOp::kSum);
  Heartbeat::Operation last = heartbeat.state().operation;
  EXPECT_EQ(last.number, 1);
  EXPECT_EQ(last.name, "all_reduce");
  EXPECT_EQ(last.bytes, 40);
  EXPECT_EQ(last.under_way, 1);
  reduction.wait();
  EXPECT_EQ(heartbeat.state().operation.under_way, 0);
  ranks->barrier();
  last = heartbeat.state().operation;
  EXPECT_EQ(last.number, 2);
  EXPECT_EQ(last.name, "barrier");
  EXPECT_EQ(last.under_way, 0);
}

TEST(Watched, EveryRankNumbersAlikeAndMovesTheSameBytes) {
  std::array<Heartbeat, 2> heartbeats;
  std::array<std::int64_t, 2> sums{};
  ThreadWorld{2}.run([&](Communicator& inner) {
    const auto rank = static_cast<std::size_t>(inner.rank());
    const std::unique_ptr<Communicator> ranks = watched(testing::borrowed(inner), heartbeats.at(rank));
    std::int64_t own = inner.rank() + 1;
    ranks->all_reduce(view(std::span(&own, 1)), ReduceOp::kSum).wait();
    std::array<std::int64_t, 3> all{};
    const std::vector<std::int64_t> counts{1, 2};
    const std::array<std::int64_t, 2> two{own, own};
    ranks
        ->all_gather(view(std::span<const std::int64_t>(two).first(rank + 1)), view(std::span<std::int64_t>(all)),
                     counts)
        .wait();
    ranks->broadcast(view(std::span<std::int64_t>(all)), 0).wait();
    ranks->exchange({}, {}).wait();
    sums.at(rank) = all[0] + all[1] + all[2];
  });
  EXPECT_EQ(sums, (std::array<std::int64_t, 2>{9, 9}));
  for (const Heartbeat& heartbeat : heartbeats) {
    EXPECT_EQ(heartbeat.state().operation.number, 4);
    EXPECT_EQ(heartbeat.state().operation.name, "exchange");
    EXPECT_EQ(heartbeat.state().operation.under_way, 0);
  }
}

}  // namespace
}  // namespace dormer::comm
