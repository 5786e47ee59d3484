#include <gmock/gmock.h>

#include "dormer/comm/world.hpp"
#include "dormer/core/error.hpp"

namespace dormer::comm {
namespace {

TEST(DetectLaunch, AProgramStartedByHandIsAlone) {
  EXPECT_FALSE(detect_launch({}).uses_mpi);
  EXPECT_FALSE(detect_launch({{"PATH", "/bin"}}).uses_mpi);
}

TEST(DetectLaunch, MpirunSaysHowManyRanks) {
  const Launch launch = detect_launch({{"OMPI_COMM_WORLD_SIZE", "3"}, {"PMIX_RANK", "0"}});
  EXPECT_TRUE(launch.uses_mpi);
  EXPECT_EQ(launch.expected_size, 3);
  EXPECT_EQ(launch.launcher, "mpirun");
}

TEST(DetectLaunch, OneRankNeedsNoMpi) {
  EXPECT_FALSE(detect_launch({{"OMPI_COMM_WORLD_SIZE", "1"}, {"PMIX_RANK", "0"}}).uses_mpi);
  EXPECT_FALSE(detect_launch({{"PMIX_RANK", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}}).uses_mpi);
}

TEST(DetectLaunch, OtherPmiLaunchersAreFollowed) {
  EXPECT_EQ(detect_launch({{"PMI_RANK", "1"}, {"PMI_SIZE", "4"}}).expected_size, 4);
  const Launch launch = detect_launch({{"PMIX_RANK", "0"}, {"SLURM_STEP_NUM_TASKS", "2"}, {"SLURM_NTASKS", "8"}});
  EXPECT_EQ(launch.expected_size, 2);
  EXPECT_EQ(launch.launcher, "srun");
}

TEST(DetectLaunch, APmixLauncherThatNamesNoSizeIsAskedThroughMpi) {
  const Launch launch = detect_launch({{"PMIX_RANK", "0"}});
  EXPECT_TRUE(launch.uses_mpi);
  EXPECT_EQ(launch.expected_size, 0);
}

TEST(DetectLaunch, AStepOfSeveralTasksWithoutPmiExpectsThem) {
  const Launch launch = detect_launch({{"SLURM_STEP_ID", "0"}, {"SLURM_NTASKS", "4"}});
  EXPECT_TRUE(launch.uses_mpi);
  EXPECT_EQ(launch.expected_size, 4);
}

TEST(DetectLaunch, ABatchScriptOrInteractiveShellIsOneProcess) {
  EXPECT_FALSE(detect_launch({{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "4"}}).uses_mpi);
  EXPECT_FALSE(
      detect_launch({{"SLURM_STEP_ID", "4294967290"}, {"SLURM_STEP_NUM_TASKS", "1"}, {"SLURM_NTASKS", "4"}}).uses_mpi);
}

TEST(DetectLaunch, RefusesANumberOfRanksThatIsNone) {
  try {
    (void)detect_launch({{"OMPI_COMM_WORLD_SIZE", "two"}});
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kUsage);
    EXPECT_THAT(error.what(), testing::HasSubstr("OMPI_COMM_WORLD_SIZE is 'two'"));
  }
}

}  // namespace
}  // namespace dormer::comm
