#include "dormer/device/cuda_module.hpp"

#include <cstdlib>
#include <string>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"

namespace dormer::device {
namespace {

using ::testing::HasSubstr;

class CudaModuleOf : public ::testing::Test {
 protected:
  void TearDown() override { unsetenv("DORMER_CUDA_MODULE"); }
  static std::string complaint(const char* module) {
    setenv("DORMER_CUDA_MODULE", module, 1);
    try {
      static_cast<void>(load_cuda_module());
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kUsage);
      return error.what();
    }
    return "accepted";
  }
};

TEST_F(CudaModuleOf, AMissingModuleIsAUsageErrorWithARemedy) {
  EXPECT_THAT(complaint("/nowhere/libdormer_cuda.so"),
              ::testing::AllOf(HasSubstr("there is no CUDA module /nowhere"), HasSubstr("run.device: cpu")));
}

std::string complaint_about(const LibraryVersions& versions) {
  try {
    require_libraries(versions);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Libraries, OlderOnesThanTheModuleWasBuiltWithAreRefused) {
  const LibraryVersions same{
      .runtime_built = 13'000, .runtime_loaded = 13'000, .nccl_built = 22'809, .nccl_loaded = 22'809};
  EXPECT_EQ(complaint_about(same), "accepted");
  LibraryVersions other = same;
  other.runtime_loaded = 13'010;
  other.nccl_loaded = 22'801;  // an older patch level
  EXPECT_EQ(complaint_about(other), "accepted");
  other.nccl_loaded = 22'707;
  EXPECT_THAT(complaint_about(other), HasSubstr("built with NCCL 2.28.9, but the NCCL of this process is 2.27.7"));
  other = same;
  other.runtime_loaded = 12'080;
  EXPECT_THAT(complaint_about(other), HasSubstr("built with CUDA 13.0, but the CUDA runtime of this process is 12.8"));
  other.runtime_loaded = 14'000;
  EXPECT_THAT(complaint_about(other), HasSubstr("of this process is 14.0"));
}

#ifdef DORMER_HAS_CUDA_MODULE  // what follows needs LibTorch's GPU half, which a build without a toolkit may lack
TEST_F(CudaModuleOf, AnotherBuildIsRefused) {
  EXPECT_THAT(complaint(DORMER_FOREIGN_MODULE), HasSubstr("is of build 0.0.0-foreign, this program of build"));
}

TEST_F(CudaModuleOf, AnotherFileIsRefused) {
  EXPECT_THAT(complaint("/proc/self/exe"), HasSubstr("cannot be loaded"));
}

TEST_F(CudaModuleOf, ThisBuildLoadsWithoutADriver) {
  const CudaModule& module = load_cuda_module();
  EXPECT_STREQ(module.build_id, cuda_build_id());
  EXPECT_THAT(describe(module.libraries()), ::testing::AllOf(HasSubstr("CUDA 13."), HasSubstr("NCCL 2.")));
  EXPECT_NE(module.nccl, nullptr);
}
#endif

}  // namespace
}  // namespace dormer::device
