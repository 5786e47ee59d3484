// What the fast reduction sends while a backward pass still runs.
#include <algorithm>
#include <numeric>
#include <random>
#include <thread>

#include <gmock/gmock.h>

#include "dormer/comm/threads.hpp"
#include "dormer/comm/traced.hpp"
#include "dormer/core/error.hpp"
#include "dormer/parallel/reducer.hpp"
#include "support/borrowed_communicator.hpp"

namespace dormer::parallel {
namespace {

/// A plan of eight buckets of one block, with a parameter to each half block.
ReductionPlan plan_with_slots(int ranks, bool sharded) {
  ReductionRequest request{.reduction = Reduction::kFast,
                           .shard_optimizer = sharded,
                           .micro_batches = 2 * ranks,
                           .flat_size = 8 * kNormBlock,
                           .ranks = ranks};
  for (std::int64_t begin = 0; begin < request.flat_size; begin += kNormBlock / 2) {
    request.slots.push_back({begin, begin + kNormBlock / 2});
  }
  return plan_reduction(request);
}

/// Begins the last leaf of the share, the one before being complete.
std::span<float> begin_last_leaf(GradientReducer& reducer) {
  (void)reducer.next_leaf_buffer();
  reducer.complete_leaf({1.0, 1});
  return reducer.next_leaf_buffer();
}

TEST(FastReduction, SendsABucketWhenItAndAllBeforeItAreAnnouncedWhateverTheOrder) {
  for (const bool sharded : {true, false}) {
    const ReductionPlan plan = plan_with_slots(3, sharded);
    const comm::Operation operation = sharded ? comm::Operation::kReduceScatter : comm::Operation::kAllReduce;
    comm::ThreadWorld{3}.run([&](comm::Communicator& communicator) {
      comm::Trace trace;
      const auto traced = comm::traced(dormer::testing::borrowed(communicator), trace);
      const auto reducer = gradient_reducer(plan, *traced);
      for (int update = 0; update < 2; ++update) {
        trace = {};
        const std::span<float> buffer = begin_last_leaf(*reducer);
        std::fill(buffer.begin(), buffer.end(), 1.0F);
        // Each rank its own order; after each announcement as many buckets are gone as have all behind them announced.
        std::vector<std::size_t> order(16);
        std::iota(order.begin(), order.end(), 0U);
        if (communicator.rank() > 0) {
          std::shuffle(order.begin(), order.end(), std::mt19937(static_cast<unsigned>(communicator.rank())));
        }
        std::vector<bool> announced(16, false);
        for (const std::size_t slot : order) {
          reducer->announce(slot);
          announced[slot] = true;
          const auto missing = std::find(announced.rbegin(), announced.rend(), false);
          EXPECT_EQ(trace.of(operation).calls, (missing - announced.rbegin()) / 2);
        }
        reducer->complete_leaf({1.0, 1});
        EXPECT_THAT(reducer->reduce({}).gradient, ::testing::Each(3.0F));
        EXPECT_EQ(trace.operations[static_cast<std::size_t>(operation)],
                  bytes_per_update(plan, communicator.rank()).of(operation));
      }
    });
  }
}

TEST(FastReduction, WhatIsNeverAnnouncedGoesAtTheEndAsItStands) {
  const ReductionPlan plan = plan_with_slots(2, true);
  comm::ThreadWorld{2}.run([&](comm::Communicator& communicator) {
    comm::Trace trace;
    const auto traced = comm::traced(dormer::testing::borrowed(communicator), trace);
    const auto reducer = gradient_reducer(plan, *traced);
    const std::span<float> buffer = begin_last_leaf(*reducer);
    const std::size_t absent = 9;  // in the fourth bucket from the end: nothing was added to it
    std::fill(buffer.begin(), buffer.end(), 1.0F);
    std::fill_n(buffer.begin() + absent * kNormBlock / 2, kNormBlock / 2, 0.0F);
    for (std::size_t slot = 16; slot-- > 0;) {
      if (slot != absent) {
        reducer->announce(slot);
      }
    }
    EXPECT_EQ(trace.of(comm::Operation::kReduceScatter).calls, 3);
    reducer->complete_leaf({1.0, 1});
    const ReducedGradient result = reducer->reduce({});
    EXPECT_EQ(trace.of(comm::Operation::kReduceScatter).calls, 8);
    EXPECT_EQ(result.squared_norm, 4.0 * (8 * kNormBlock - kNormBlock / 2));
  });
}

TEST(FastReduction, ARankThatFailsAmongItsBucketsSendsTheRestAndTellsTheOthers) {
  for (const bool sharded : {true, false}) {
    const ReductionPlan plan = plan_with_slots(3, sharded);
    comm::ThreadWorld{3}.run([&](comm::Communicator& communicator) {
      const auto reducer = gradient_reducer(plan, communicator);
      (void)begin_last_leaf(*reducer);
      const bool fails = communicator.rank() == 1;
      for (std::size_t slot = 16; slot-- > (fails ? 7U : 0U);) {
        reducer->announce(slot);
      }
      if (!fails) {
        reducer->complete_leaf({1.0, 1});
      }
      const ReducedGradient result = reducer->reduce({.error = fails ? 4 : 0});
      EXPECT_EQ(result.error, 4);
      EXPECT_EQ(result.error_rank, 1);
    });
  }
}

TEST(FastReduction, AnAnnouncementThatComesTooEarlyOrTooLateIsOurBug) {
  const ReductionPlan plan = plan_with_slots(2, true);
  comm::ThreadWorld{2}.run([&](comm::Communicator& communicator) {
    const auto reducer = gradient_reducer(plan, communicator);
    (void)reducer->next_leaf_buffer();
    EXPECT_THROW(reducer->announce(15), Error) << "leaves are still to come";
    reducer->complete_leaf({1.0, 1});
    (void)reducer->next_leaf_buffer();
    reducer->announce(15);
    reducer->announce(15);  // not sent yet: no harm
    reducer->announce(14);
    EXPECT_THROW(reducer->announce(14), Error) << "its bucket is on its way";
    reducer->complete_leaf({1.0, 1});
    (void)reducer->reduce({});
  });
}

TEST(FastReduction, AnotherThreadOnlyTakesNote) {
  const ReductionPlan plan = plan_with_slots(2, true);
  comm::ThreadWorld{2}.run([&](comm::Communicator& communicator) {
    comm::Trace trace;
    const auto traced = comm::traced(dormer::testing::borrowed(communicator), trace);
    const auto reducer = gradient_reducer(plan, *traced);
    (void)begin_last_leaf(*reducer);
    std::thread([&] {
      reducer->announce(15);
      reducer->announce(14);
    }).join();
    EXPECT_EQ(trace.of(comm::Operation::kReduceScatter).calls, 0);
    reducer->announce(13);  // the communicator's own: sends what is due
    EXPECT_EQ(trace.of(comm::Operation::kReduceScatter).calls, 1);
    reducer->complete_leaf({1.0, 1});
    (void)reducer->reduce({});
  });
}

/// As on a GPU, where the backward pass runs in LibTorch's thread while the own one waits for it.
TEST(FastReduction, AnotherThreadSendsWhereGradientsHaveACommunicatorOfTheirOwn) {
  const ReductionPlan plan = plan_with_slots(2, true);
  comm::ThreadWorld{2}.run([&](comm::Communicator& communicator) {
    comm::Trace of_host;
    comm::Trace of_gradients;
    const auto host = comm::traced(dormer::testing::borrowed(communicator), of_host);
    const auto gradients = comm::traced(dormer::testing::borrowed(communicator), of_gradients);
    const auto reducer = gradient_reducer(plan, Links(*host, *gradients, "cpu"));
    const std::span<float> buffer = begin_last_leaf(*reducer);
    std::fill(buffer.begin(), buffer.end(), 1.0F);
    std::thread([&] {
      for (std::size_t slot = 16; slot-- > 4;) {
        reducer->announce(slot);
      }
    }).join();
    EXPECT_EQ(of_gradients.of(comm::Operation::kReduceScatter).calls, 6);
    EXPECT_EQ(of_host.total().calls, 0) << "knows one thread alone";
    reducer->complete_leaf({1.0, 1});
    EXPECT_THAT(reducer->reduce({}).gradient, ::testing::Each(2.0F));
    EXPECT_EQ(of_gradients.total().calls, 8) << "all buckets";
    EXPECT_EQ(of_host.of(comm::Operation::kAllGather).calls, of_host.total().calls) << "norms, losses and flags";
  });
}

}  // namespace
}  // namespace dormer::parallel
