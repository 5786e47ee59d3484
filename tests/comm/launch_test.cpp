#include <initializer_list>

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

TEST(DetectLaunch, AStepOfSeveralTasksExpectsThem) {
  for (const char* rendezvous : {"PMI_FD", "PMI2_SOMETHING", "PMIX_NAMESPACE", "I_MPI_PMI_LIBRARY"}) {
    const Launch launch = detect_launch({{"SLURM_STEP_ID", "0"}, {"SLURM_NTASKS", "4"}, {rendezvous, "3"}});
    EXPECT_TRUE(launch.uses_mpi) << rendezvous;
    EXPECT_EQ(launch.expected_size, 4) << rendezvous;
  }
}

TEST(DetectLaunch, RefusesAStepOfSeveralTasksThatDoNotKnowOfEachOther) {
  for (const char* name : {"SLURM_STEP_ID", "SLURM_STEPID"}) {
    try {
      (void)detect_launch({{name, "0"}, {"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}});
      FAIL() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kUsage);
      EXPECT_THAT(error.what(), testing::HasSubstr("srun started 4 tasks without PMIx"));
      EXPECT_THAT(error.what(), testing::HasSubstr("srun --mpi=pmix"));
    }
  }
}

TEST(DetectLaunch, ABatchScriptOrInteractiveShellIsOneProcess) {
  EXPECT_FALSE(detect_launch({{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "4"}}).uses_mpi);
  EXPECT_FALSE(
      detect_launch({{"SLURM_STEP_ID", "4294967290"}, {"SLURM_STEP_NUM_TASKS", "1"}, {"SLURM_NTASKS", "4"}}).uses_mpi);
}

TEST(RefuseLoneRank, WhereAJobOfSeveralTasksHasNoLauncher) {
  const Environment batch{{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}};
  Environment interactive = batch;
  interactive.insert({{"SLURM_STEP_ID", "4294967290"}, {"SLURM_STEP_NUM_TASKS", "1"}});
  for (const Environment& environment : {batch, interactive}) {
    try {
      refuse_lone_rank(environment);
      FAIL() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kUsage);
      EXPECT_THAT(error.what(), testing::HasSubstr("this Slurm job has 4 tasks"));
      EXPECT_THAT(error.what(), testing::HasSubstr("SLURM_NTASKS=1"));
    }
  }
}

TEST(RefuseLoneRank, NowhereElse) {
  for (const Environment& environment : std::initializer_list<Environment>{
           {},
           {{"SLURM_NTASKS", "4"}},  // a leftover of a shell, not a job
           {{"SLURM_JOB_ID", "7"}},
           {{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "1"}},
           {{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "4"}, {"OMPI_COMM_WORLD_SIZE", "4"}},
           {{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "4"}, {"OMPI_COMM_WORLD_SIZE", "1"}},
           {{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "4"}, {"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}},
           {{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "4"}, {"SLURM_STEP_ID", "0"}, {"PMIX_RANK", "0"}}}) {
    EXPECT_NO_THROW(refuse_lone_rank(environment));
  }
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
