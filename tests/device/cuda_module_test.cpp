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
  EXPECT_THAT(module.versions(), ::testing::AllOf(HasSubstr("CUDA 13."), HasSubstr("NCCL 2.")));
}
#endif

}  // namespace
}  // namespace dormer::device
