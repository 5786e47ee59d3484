// What the NCCL communicator does when NCCL or another rank fails.
#include <functional>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "cuda/nccl_communicator.hpp"
#include "cuda/nccl_on_threads.hpp"
#include "cuda/nccl_plan.hpp"
#include "dormer/comm/threads.hpp"
#include "dormer/core/error.hpp"

namespace dormer::cuda {
namespace {

using dormer::testing::nccl_thread;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// What every rank complains about, in rank order; "done" where one does not.
std::vector<std::string> complaints(int ranks, const std::function<void(comm::Communicator&)>& body) {
  std::vector<std::string> texts(static_cast<std::size_t>(ranks), "done");
  comm::ThreadWorld{ranks}.run([&](comm::Communicator& rank) {
    nccl_thread() = {.ranks = &rank, .faults = {}};
    try {
      body(rank);
    } catch (const Error& error) {
      texts[static_cast<std::size_t>(rank.rank())] = error.what();
    }
  });
  return texts;
}

TEST(NcclFaults, AFailedIdIsToldByAllRanksAndNobodyWaits) {
  const std::vector<std::string> texts = complaints(3, [](comm::Communicator& rank) {
    nccl_thread().faults.id_status = rank.rank() == 0 ? ncclSystemError : ncclSuccess;
    static_cast<void>(make_nccl_communicator(rank, {}));
  });
  EXPECT_THAT(texts[0], AllOf(HasSubstr("ncclGetUniqueId on rank 0 of 3: some error"), HasSubstr("NCCL_DEBUG=INFO")));
  EXPECT_THAT(texts[1], HasSubstr("rank 1 of 3: rank 0 could not make an id"));
  EXPECT_THAT(texts[2], HasSubstr("rank 2 of 3: rank 0 could not make an id"));
}

TEST(NcclFaults, ACreationThatNeverEndsHasALimit) {
  const std::vector<std::string> texts = complaints(2, [](comm::Communicator& rank) {
    nccl_thread().faults.polls_under_way = 1 << 30;
    static_cast<void>(make_nccl_communicator(rank, {.device = 0, .seconds_wait = 0}));
  });
  EXPECT_THAT(texts, Each(HasSubstr("ncclCommInitRankConfig on rank")));
  EXPECT_THAT(texts, Each(HasSubstr("is still under way after 0 s; a rank is missing or hangs")));
}

TEST(NcclFaults, AnErrorOfAnotherRankIsSeenByWhoWaits) {
  const std::vector<std::string> texts = complaints(2, [](comm::Communicator& rank) {
    const auto communicator = make_nccl_communicator(rank, {});
    std::vector<float> values(8);
    comm::Pending pending = communicator->all_reduce(view(std::span(values)), comm::ReduceOp::kSum);
    nccl_thread().faults.asynchronous = ncclRemoteError;
    pending.wait();
  });
  EXPECT_THAT(texts, ElementsAre(HasSubstr("all_reduce on rank 0 of 2: remote process exited: what NCCL says; another "
                                           "rank ended"),
                                 HasSubstr("all_reduce on rank 1 of 2")));
}

TEST(NcclFaults, KernelsThatHangEndTheBarrierAtTheLimit) {
  const std::vector<std::string> texts = complaints(1, [](comm::Communicator& rank) {
    nccl_thread().faults = {.polls_under_way = 0, .kernels_hang = true};
    const auto communicator = make_nccl_communicator(rank, {.device = 0, .seconds_wait = 0});
    communicator->barrier();
  });
  EXPECT_THAT(texts[0], HasSubstr("all_reduce on rank 0 of 1 is not done after 0 s"));
}

TEST(NcclFaults, TypesWithoutArithmeticAreOurMistake) {
  const std::vector<std::string> texts = complaints(1, [](comm::Communicator& rank) {
    const auto communicator = make_nccl_communicator(rank, {});
    std::vector<std::int16_t> values(8);
    static_cast<void>(communicator->all_reduce({values.data(), 8, DType::kI16}, comm::ReduceOp::kSum));
  });
  EXPECT_THAT(texts[0], HasSubstr("NCCL reduces no int16 values"));
}

TEST(NcclFaults, AfterFinalizeTheRendezvousStillServes) {
  const std::vector<std::string> texts = complaints(3, [](comm::Communicator& rank) {
    const auto communicator = make_nccl_communicator(rank, {});
    communicator->barrier();
    communicator->finalize();
    rank.barrier();
  });
  EXPECT_THAT(texts, Each(std::string("done")));
}

TEST(NcclPlan, PartsAreTheOnesThatHoldSomething) {
  const std::vector<std::int64_t> counts{3, 0, 2};
  const std::vector<Part> parts = parts_of(counts);
  ASSERT_EQ(parts.size(), 2U);
  EXPECT_EQ(parts[0].owner, 0);
  EXPECT_EQ(parts[0].count, 3);
  EXPECT_EQ(parts[1].owner, 2);
  EXPECT_EQ(parts[1].begin, 3);
  EXPECT_FALSE(are_equal(counts));
  EXPECT_TRUE(are_equal(std::vector<std::int64_t>{4, 4, 4}));
  EXPECT_TRUE(are_equal(std::vector<std::int64_t>{4}));
}

}  // namespace
}  // namespace dormer::cuda
