#include "train/agreement.hpp"

#include <atomic>
#include <new>

#include <gmock/gmock.h>

#include "dormer/comm/gather.hpp"
#include "dormer/comm/threads.hpp"
#include "dormer/core/error.hpp"

namespace dormer::train {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Agreement, AnErrorOfOneRankIsTheErrorOfAll) {
  std::atomic<int> heard = 0;
  comm::ThreadWorld(3).run([&](comm::Communicator& communicator) {
    try {
      agree(communicator, [&] {
        if (communicator.rank() == 1) {
          fail(Fault::kInput, "rank 1 cannot read shard 1");
        }
        if (communicator.rank() == 2) {
          fail(Fault::kIo, "rank 2 has no space left");
        }
      });
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kInput) << "the lowest rank's";
      EXPECT_STREQ(error.what(), "rank 1 cannot read shard 1");
      ++heard;
    }
  });
  EXPECT_EQ(heard, 3);
}

TEST(Agreement, OtherExceptionsAreErrorsToo) {
  comm::ThreadWorld(2).run([&](comm::Communicator& communicator) {
    try {
      agree(communicator, [&] {
        if (communicator.rank() == 0) {
          throw std::bad_alloc();
        }
      });
      FAIL();
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("out of memory"));
    }
  });
}

TEST(Agreement, EveryRankGetsTheFirstRanksText) {
  comm::ThreadWorld(3).run([&](comm::Communicator& communicator) {
    EXPECT_EQ(agree_on_text(communicator, [] { return std::string("checkpoint 40"); }), "checkpoint 40");
    EXPECT_EQ(agree_on_text(communicator, [] { return std::string(); }), "");
  });
}

TEST(Agreement, TextsArriveInRankOrder) {
  comm::ThreadWorld(3).run([&](comm::Communicator& communicator) {
    const std::string own(static_cast<std::size_t>(communicator.rank()), 'x');
    EXPECT_THAT(comm::gather_texts(communicator, own), ElementsAre("", "x", "xx"));
  });
}

TEST(Agreement, TheOddRankIsNamed) {
  comm::ThreadWorld(3).run([&](comm::Communicator& communicator) {
    EXPECT_NO_THROW(require_equal(communicator, "configuration", "same", "start all ranks with one file"));
    try {
      require_equal(communicator, "configuration", communicator.rank() == 1 ? "b" : "a",
                    "start all ranks with one file");
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kUsage);
      EXPECT_STREQ(error.what(),
                   "rank 1 of 3 has another configuration than the others: start all ranks with one file");
    }
  });
}

TEST(Agreement, OddRanksAreTheMinority) {
  EXPECT_THAT(odd_ranks({"a", "a", "a"}), IsEmpty());
  EXPECT_THAT(odd_ranks({"b", "a", "a", "c"}), ElementsAre(0, 3));
  EXPECT_THAT(odd_ranks({"a", "b"}), ElementsAre(1)) << "in a draw the first rank is right";
}

}  // namespace
}  // namespace dormer::train
