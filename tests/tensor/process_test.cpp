#include "dormer/tensor/process.hpp"

#include <cstdlib>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"

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

}  // namespace
}  // namespace dormer::tensor
