#include "dormer/comm/checked.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "dormer/comm/threads.hpp"
#include "dormer/core/error.hpp"
#include "support/borrowed_communicator.hpp"

namespace dormer::comm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// What every one of `ranks` checked ranks complains about; the test fails if one does not.
std::string complaint(int ranks, const std::function<void(Communicator&)>& body) {
  std::vector<std::string> complaints(static_cast<std::size_t>(ranks));
  ThreadWorld{ranks}.run([&](Communicator& inner) {
    const auto communicator = checked(testing::borrowed(inner));
    try {
      body(*communicator);
    } catch (const Error& error) {
      complaints[static_cast<std::size_t>(inner.rank())] = error.what();
    }
  });
  for (const std::string& text : complaints) {
    EXPECT_EQ(text, complaints.front()) << "all ranks must tell the same";
  }
  return complaints.front();
}

TEST(Checked, NamesTheRanksWhoseOperationDiffers) {
  const std::string text = complaint(3, [](Communicator& ranks) {
    std::vector<float> values(5);
    ranks.barrier();
    if (ranks.rank() == 1) {
      ranks.broadcast(view(std::span(values)), 2).wait();
    } else {
      ranks.all_reduce(view(std::span(values)), ReduceOp::kSum).wait();
    }
  });
  EXPECT_THAT(text, AllOf(HasSubstr("ranks 0, 2: all_reduce #1 of 5 float32 (sum)"),
                          HasSubstr("rank 1: broadcast #1 of 5 float32 from rank 2")));
}

TEST(Checked, FindsUnlikeCounts) {
  const std::string text = complaint(2, [](Communicator& ranks) {
    std::vector<double> values(ranks.rank() == 0 ? 4 : 6);
    ranks.all_reduce(view(std::span(values)), ReduceOp::kMax).wait();
  });
  EXPECT_THAT(text, AllOf(HasSubstr("rank 0: all_reduce #0 of 4 float64 (max)"),
                          HasSubstr("rank 1: all_reduce #0 of 6 float64 (max)")));
}

TEST(Checked, FindsUnlikeDtypesRootsAndReductions) {
  EXPECT_THAT(complaint(2,
                        [](Communicator& ranks) {
                          std::vector<double> values(4);
                          ranks.broadcast({values.data(), 4, ranks.rank() == 0 ? DType::kF64 : DType::kI64}, 0).wait();
                        }),
              AllOf(HasSubstr("4 float64"), HasSubstr("4 int64")));
  EXPECT_THAT(complaint(2,
                        [](Communicator& ranks) {
                          std::vector<double> values(4);
                          ranks.broadcast(view(std::span(values)), ranks.rank()).wait();
                        }),
              AllOf(HasSubstr("from rank 0"), HasSubstr("from rank 1")));
  EXPECT_THAT(
      complaint(2,
                [](Communicator& ranks) {
                  std::vector<double> values(4);
                  ranks.all_reduce(view(std::span(values)), ranks.rank() == 0 ? ReduceOp::kMin : ReduceOp::kSum).wait();
                }),
      AllOf(HasSubstr("(min)"), HasSubstr("(sum)")));
}

TEST(Checked, FindsCountsThatDoNotFitTheBuffersOfOneRank) {
  const std::string text = complaint(2, [](Communicator& ranks) {
    std::vector<float> own(ranks.rank() == 1 ? 3 : 2);
    std::vector<float> all(4);
    const std::vector<std::int64_t> counts{2, 2};
    ranks.all_gather(view(std::span(own)), view(std::span(all)), counts).wait();
  });
  EXPECT_THAT(text, AllOf(HasSubstr("rank 1: all_gather #0"), HasSubstr("do not fit its counts")));
}

TEST(Checked, NamesTheRanksWhoseMessagesDoNotMatch) {
  const std::string text = complaint(3, [](Communicator& ranks) {
    std::vector<float> values(8);
    std::vector<Send> sends;
    std::vector<Receive> receives;
    if (ranks.rank() == 2) {
      sends.push_back({0, view(std::span(values))});
    }
    if (ranks.rank() == 0) {
      receives.push_back({2, view(std::span(values).first(7))});
    }
    ranks.exchange(sends, receives).wait();
  });
  EXPECT_THAT(text, HasSubstr("exchange #0: rank 2 sends 1 (32 bytes) to rank 0, which expects 1 (28 bytes)"));
}

TEST(Checked, FindsMessagesOfTheSameTotalInAnotherOrder) {
  const std::string text = complaint(2, [](Communicator& ranks) {
    std::vector<float> values(8);
    const std::span<float> all(values);
    std::vector<Send> sends;
    std::vector<Receive> receives;
    if (ranks.rank() == 0) {
      sends = {{1, view(all.first(3))}, {1, view(all.last(5))}};
    } else {
      receives = {{0, view(all.first(5))}, {0, view(all.last(3))}};
    }
    ranks.exchange(sends, receives).wait();
  });
  EXPECT_THAT(text, HasSubstr("of other sizes or dtypes"));
}

TEST(Checked, ARankThatFinalizesEarlyIsFound) {
  const std::string text = complaint(2, [](Communicator& ranks) {
    if (ranks.rank() == 0) {
      ranks.finalize();
    } else {
      ranks.barrier();
    }
  });
  EXPECT_THAT(text, AllOf(HasSubstr("rank 0: finalize #0"), HasSubstr("rank 1: barrier #0")));
}

}  // namespace
}  // namespace dormer::comm
