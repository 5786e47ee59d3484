#include "dormer/comm/traced.hpp"

#include <vector>

#include <gmock/gmock.h>

#include "dormer/comm/single.hpp"
#include "dormer/comm/threads.hpp"
#include "support/borrowed_communicator.hpp"

namespace dormer::comm {
namespace {

void every_operation_once(Communicator& ranks) {
  std::vector<float> ten(10);
  std::vector<float> own(ranks.rank() == 0 ? 4 : 6);
  const std::vector<std::int64_t> counts =
      ranks.size() == 1 ? std::vector<std::int64_t>{4} : std::vector<std::int64_t>{4, 6};
  const std::span<float> all = std::span(ten).first(ranks.size() == 1 ? 4U : 10U);
  ranks.all_reduce(view(std::span(ten)), ReduceOp::kSum).wait();
  ranks.reduce_scatter(view(all), view(std::span(own)), counts).wait();
  ranks.all_gather(view(std::span(own)), view(all), counts).wait();
  ranks.broadcast(view(std::span(ten)), 0).wait();
  const int right = (ranks.rank() + 1) % ranks.size();
  std::vector<float> other(3);
  const std::vector<Send> sends{{right, view(std::span(ten).first(3))}, {ranks.rank(), view(std::span(ten).first(2))}};
  std::vector<float> mine(2);
  const std::vector<Receive> receives{{right, view(std::span(other))}, {ranks.rank(), view(std::span(mine))}};
  ranks.exchange(sends, receives).wait();
  ranks.barrier();
}

TEST(Traced, CountsBytesThatMustCrossBetweenRanks) {
  std::vector<Trace> traces(2);
  ThreadWorld{2}.run([&](Communicator& inner) {
    every_operation_once(*traced(testing::borrowed(inner), traces[static_cast<std::size_t>(inner.rank())]));
  });
  using Count = Trace::Count;
  EXPECT_EQ(traces[0].of(Operation::kAllReduce), (Count{1, 40, 40}));
  EXPECT_EQ(traces[0].of(Operation::kReduceScatter), (Count{1, 24, 16}));
  EXPECT_EQ(traces[1].of(Operation::kReduceScatter), (Count{1, 16, 24}));
  EXPECT_EQ(traces[0].of(Operation::kAllGather), (Count{1, 16, 24}));
  EXPECT_EQ(traces[1].of(Operation::kAllGather), (Count{1, 24, 16}));
  EXPECT_EQ(traces[0].of(Operation::kBroadcast), (Count{1, 40, 0}));
  EXPECT_EQ(traces[1].of(Operation::kBroadcast), (Count{1, 0, 40}));
  EXPECT_EQ(traces[0].of(Operation::kExchange), (Count{1, 12, 12}));
  EXPECT_EQ(traces[0].of(Operation::kBarrier), (Count{1, 0, 0}));
  EXPECT_EQ(traces[0].total(), (Count{6, 40 + 24 + 16 + 40 + 12, 40 + 16 + 24 + 12}));
}

TEST(Traced, OneRankMovesNothing) {
  Trace trace;
  every_operation_once(*traced(single(), trace));
  EXPECT_EQ(trace.total(), (Trace::Count{6, 0, 0}));
}

}  // namespace
}  // namespace dormer::comm
