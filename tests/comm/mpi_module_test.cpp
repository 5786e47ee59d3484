#include "dormer/comm/mpi_module.hpp"

#include <cstdlib>
#include <string>

#include <gmock/gmock.h>

#include "dormer/comm/world.hpp"
#include "dormer/core/error.hpp"

namespace dormer::comm {
namespace {

class MpiModuleOf : public ::testing::Test {
 protected:
  void SetUp() override { setenv("OMPI_COMM_WORLD_SIZE", "2", 1); }
  void TearDown() override {
    unsetenv("OMPI_COMM_WORLD_SIZE");
    unsetenv("DORMER_MPI_MODULE");
  }
  static std::string complaint(const char* module) {
    setenv("DORMER_MPI_MODULE", module, 1);
    try {
      (void)make_world();
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kUsage);
      return error.what();
    }
    return "accepted";
  }
};

TEST_F(MpiModuleOf, AMissingModuleIsAUsageErrorWithARemedy) {
  EXPECT_THAT(complaint("/nowhere/libdormer_mpi.so"),
              ::testing::AllOf(::testing::HasSubstr("mpirun started 2 ranks, but there is no MPI module /nowhere"),
                               ::testing::HasSubstr("build it")));
}

TEST_F(MpiModuleOf, AnotherBuildIsRefused) {
  EXPECT_THAT(complaint(DORMER_FOREIGN_MODULE),
              ::testing::HasSubstr("is of build 0.0.0-foreign, this program of build"));
}

TEST_F(MpiModuleOf, AnotherFileIsRefused) {
  EXPECT_THAT(complaint("/proc/self/exe"), ::testing::HasSubstr("cannot be loaded"));
}

}  // namespace
}  // namespace dormer::comm
