#include "dormer/comm/threads.hpp"

#include <atomic>
#include <stdexcept>
#include <vector>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"

namespace dormer::comm {
namespace {

using ::testing::HasSubstr;

TEST(ThreadWorld, RethrowsTheFirstFailureAndNobodyHangs) {
  std::atomic<int> released{0};
  try {
    ThreadWorld{3}.run([&](Communicator& ranks) {
      if (ranks.rank() == 1) {
        throw std::runtime_error("rank 1 has had enough");
      }
      try {
        ranks.barrier();
      } catch (const Error&) {
        ++released;
        throw;
      }
    });
    FAIL() << "no exception";
  } catch (const std::exception& error) {
    EXPECT_STREQ(error.what(), "rank 1 has had enough");
  }
  EXPECT_EQ(released, 2);
}

TEST(ThreadWorld, ARankThatReturnsEarlyIsNamed) {
  try {
    ThreadWorld{2}.run([](Communicator& ranks) {
      if (ranks.rank() == 0) {
        ranks.barrier();
      }
    });
    FAIL() << "no exception";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("barrier cannot end: rank 1 has returned without it"));
  }
}

TEST(ThreadWorld, AbortEndsTheOthersWithItsExitCode) {
  try {
    ThreadWorld{2}.run([](Communicator& ranks) {
      if (ranks.rank() == 0) {
        ranks.abort(86);
      } else {
        ranks.barrier();
      }
    });
    FAIL() << "no exception";
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), 86);
  }
}

TEST(ThreadWorld, UnlikeOperationsAreAnError) {
  try {
    ThreadWorld{2}.run([](Communicator& ranks) {
      std::vector<float> value(1);
      if (ranks.rank() == 0) {
        ranks.barrier();
      } else {
        ranks.broadcast(view(std::span(value)), 0).wait();
      }
    });
    FAIL() << "no exception";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kBug);
  }
}

TEST(ThreadWorld, RefusesAWorldWithoutRanks) {
  EXPECT_THROW(ThreadWorld{0}, Error);
}

}  // namespace
}  // namespace dormer::comm
