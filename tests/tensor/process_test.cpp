#include "dormer/tensor/process.hpp"

#include <array>
#include <atomic>
#include <cstdlib>
#include <string>

#include <ATen/core/Tensor.h>
#include <gmock/gmock.h>

#include "dormer/core/error.hpp"
#include "dormer/tensor/differentiable.hpp"

namespace dormer::tensor {
namespace {

using ::testing::HasSubstr;

/// What `threads` are refused with where the environment allows `limit`; empty where they are not.
std::string refusal_of(std::int64_t threads, const char* limit) {
  ::setenv("OMP_THREAD_LIMIT", limit, 1);
  std::string message;
  try {
    configure_process(threads);
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kUsage);
    message = error.what();
  }
  ::unsetenv("OMP_THREAD_LIMIT");
  configure_process(1);
  return message;
}

TEST(ConfigureProcess, RefusesThreadsThatOpenMpWillNotGive) {
  EXPECT_THAT(refusal_of(2, "1"), HasSubstr("run.threads is 2, but OMP_THREAD_LIMIT lets this process have 1: unset it,"
                                            " or write run.threads: 1"));
  EXPECT_EQ(refusal_of(2, "2"), "");
  EXPECT_EQ(refusal_of(2, ""), "");
  EXPECT_EQ(refusal_of(1, "1"), "");
}

/// LibTorch's threads for a test, and one again afterwards.
class ThreeThreads {
 public:
  ThreeThreads() { configure_process(3); }
  ~ThreeThreads() { configure_process(1); }
};

TEST(ForItems, VisitsEveryItemOnceWithNothingRecorded) {
  const ThreeThreads threads;
  const at::Tensor recorded = graph_anchor();
  for (const std::int64_t count : {0, 1, 2, 100}) {
    std::array<std::atomic<int>, 100> visits{};
    for_items(count,
              [&](std::int64_t index) { visits.at(static_cast<std::size_t>(index)) += records({recorded}) ? 2 : 1; });
    for (std::int64_t i = 0; i < 100; ++i) {
      EXPECT_EQ(visits.at(static_cast<std::size_t>(i)), i < count ? 1 : 0) << i << " of " << count;
    }
  }
}

TEST(ForItems, AnErrorOfAnItemIsThrownToTheCaller) {
  const ThreeThreads threads;
  try {
    for_items(10, [](std::int64_t index) { require(index != 7, Fault::kUsage, "item {}", index); });
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kUsage);
    EXPECT_EQ(std::string(error.what()), "item 7");
  }
}

}  // namespace
}  // namespace dormer::tensor
