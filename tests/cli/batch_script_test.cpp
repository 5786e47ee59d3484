#include "cli/batch_script.hpp"

#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"
#include "support/program.hpp"

namespace dormer::cli {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

constexpr const char* kBody =
    "#!/bin/sh\n#SBATCH --requeue\n#SBATCH --signal=B:USR1@180\n# what it does\necho \"$@\"\n";

TrainLine line(std::vector<std::string> arguments = {"mine.yaml"}) {
  return {.program = "/opt/dormer",
          .working_directory = "/data/me",
          .output = "/data/me/runs/mine-%j.log",
          .arguments = std::move(arguments)};
}

JobRequest small_request() {
  JobRequest request;
  request.name = "mine";
  request.nodes = 2;
  request.time = "04:00:00";
  return request;
}

std::string script_of(const JobRequest& request, const Site& site = {}) {
  return batch_script(request, site, line(), kBody);
}

std::string output_of(const std::string& script) {
  const test::TempDirectory folder;
  std::ofstream(folder.path() / "job.sh") << script;
  const test::ProgramResult result = test::run_program("bash", "job.sh", folder.path());
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  return result.output;
}

TEST(BatchScript, IsTheScriptWithTheJobsOptionsInFront) {
  EXPECT_EQ(script_of(small_request()),
            "#!/usr/bin/env bash\n"
            "#SBATCH --requeue\n"
            "#SBATCH --signal=B:USR1@180\n"
            "#SBATCH --job-name=mine\n"
            "#SBATCH --chdir=/data/me\n"
            "#SBATCH --output=/data/me/runs/mine-%j.log\n"
            "#SBATCH --nodes=2\n"
            "#SBATCH --ntasks-per-node=1\n"
            "#SBATCH --cpus-per-task=1\n"
            "#SBATCH --time=04:00:00\n"
            "\n"
            "export DORMER_PROGRAM='/opt/dormer'\n"
            "export DORMER_LAUNCHER='mpirun'\n"
            "export DORMER_LAUNCHER_OPTIONS=''\n"
            "export DORMER_SRUN_MPI='pmix'\n"
            "export DORMER_CONTAINER=\"\"\n"
            "export DORMER_REQUEUE='yes'\n"
            "set -- 'mine.yaml'\n"
            "\n"
            "# what it does\n"
            "echo \"$@\"\n");
}

TEST(BatchScript, HasOneRankForEachGpuWhereNothingElseIsSaid) {
  JobRequest request = small_request();
  for (const char* gres : {"gpu:3", "gpu:a100:3", "lustre:1,gpu:3"}) {
    request.gres = gres;
    EXPECT_THAT(script_of(request), HasSubstr("--ntasks-per-node=3\n")) << gres;
  }
  request.gres = "lustre:5";
  EXPECT_THAT(script_of(request), HasSubstr("--ntasks-per-node=1\n"));
  request.gpus_per_node = "a100:4";
  EXPECT_THAT(script_of(request), AllOf(HasSubstr("--ntasks-per-node=4\n"), HasSubstr("--gpus-per-node=a100:4\n")));
  request.ranks_per_node = 2;
  EXPECT_THAT(script_of(request), HasSubstr("--ntasks-per-node=2\n"));
}

TEST(BatchScript, TheRequestCountsBeforeTheSite) {
  Site site;
  site.account = "ours";
  site.partition = "gpu";
  site.launcher = "srun";
  site.requeue = "chain";
  JobRequest request = small_request();
  EXPECT_THAT(script_of(request, site), AllOf(HasSubstr("--account=ours\n"), HasSubstr("--partition=gpu\n"),
                                              HasSubstr("DORMER_LAUNCHER='srun'\n"), HasSubstr("REQUEUE='chain'\n")));
  request.account = "mine";
  request.launcher = "mpirun";
  request.requeue = "no";
  EXPECT_THAT(script_of(request, site), AllOf(HasSubstr("--account=mine\n"), Not(HasSubstr("ours")),
                                              HasSubstr("DORMER_LAUNCHER='mpirun'\n"), HasSubstr("REQUEUE='no'\n")));
}

TEST(BatchScript, WhatSlurmReadsLastCounts) {
  JobRequest request = small_request();
  request.signal_seconds = 600;
  request.options = {"--exclusive", "--nodes=3"};
  const std::string script = script_of(request);
  EXPECT_LT(script.find("USR1@180"), script.find("USR1@600"));
  EXPECT_LT(script.find("--nodes=2"), script.find("#SBATCH --exclusive\n#SBATCH --nodes=3\n"));
}

TEST(BatchScript, PassesAnyWordOnAsItIs) {
  const std::vector<std::string> words{"my run.yaml", "--set", "run.name=it's \"$HOME\" `x` \\ %a\n;"};
  EXPECT_EQ(output_of(batch_script(small_request(), {}, line(words), kBody)),
            words[0] + " " + words[1] + " " + words[2] + "\n");
}

TEST(BatchScript, VariablesOfASiteCountAndNothingElseOfTheirText) {
  Site site;
  site.environment = {"DEEP=$HOME/a \"b\" `c` \\d", "EMPTY="};
  const std::string script = batch_script(small_request(), site, line(), "#!/bin/sh\necho \"$DEEP|$EMPTY|$1\"\n");
  EXPECT_EQ(output_of("HOME=/h\n" + script), "/h/a \"b\" `c` \\d||mine.yaml\n");
}

TEST(BatchScript, ModulesScratchAndContainerComeBeforeTheRun) {
  Site site;
  site.modules = {"gcc/12", "openmpi/4.1"};
  site.scratch = "/scratch/$USER";
  site.container = "apptainer exec --nv dormer.sif";
  site.program = "/usr/bin/dormer";
  const std::string script = script_of(small_request(), site);
  EXPECT_THAT(script, AllOf(HasSubstr("\nmodule load gcc/12 openmpi/4.1 || exit 2\n"),
                            HasSubstr("\nexport TMPDIR=\"/scratch/$USER\"\n"), HasSubstr("mkdir -p \"$TMPDIR\""),
                            HasSubstr("\nexport DORMER_CONTAINER=\"apptainer exec --nv dormer.sif\"\n"),
                            HasSubstr("\nexport DORMER_PROGRAM=\"/usr/bin/dormer\"\n")));
  EXPECT_LT(script.find("module load"), script.find("export TMPDIR"));
}

TEST(BatchScript, QuotesWhatSbatchWouldCut) {
  JobRequest request = small_request();
  request.name = "my run #1";
  EXPECT_THAT(script_of(request), HasSubstr("#SBATCH --job-name='my run #1'\n"));
}

TEST(BatchScript, TheBuiltInScriptIsTheCommittedOne) {
  EXPECT_EQ(train_script(), test::read_text(DORMER_SOURCE "/cluster/slurm/train.sbatch"));
  const std::string script = batch_script(small_request(), {}, line(), train_script());
  EXPECT_THAT(script, StartsWith("#!/usr/bin/env bash\n#SBATCH --job-name=dormer\n#SBATCH --signal=B:USR1@180\n"));
  EXPECT_EQ(script.find("#SBATCH", script.find("export DORMER_PROGRAM")), std::string::npos);
}

TEST(CheckOfARequest, FindsNothingInASoundOne) {
  for (const char* time : {"", "30", "30:00", "04:00:00", "1-12", "1-12:30", "1-12:30:15"}) {
    JobRequest request = small_request();
    request.time = time;
    EXPECT_THAT(check(request, {}, line()), IsEmpty()) << time;
  }
  for (const char* array : {"", "0", "0-9", "0-9%4", "1,3,7", "0-20:5", "0-3,1000"}) {
    JobRequest request = small_request();
    request.array = array;
    EXPECT_THAT(check(request, {}, line()), IsEmpty()) << array;
  }
}

TEST(CheckOfARequest, NamesEveryMistake) {
  JobRequest request = small_request();
  request.time = "4 hours";
  request.gpus_per_node = "four";
  request.array = "0..9";
  request.options = {"exclusive"};
  request.account = "a\n#SBATCH --uid=0";
  Site site;
  site.environment = {"1X=2"};
  EXPECT_THAT(check(request, site, line()),
              ElementsAre(HasSubstr("--time 4 hours"), HasSubstr("--gpus-per-node four"), HasSubstr("--array 0..9"),
                          HasSubstr("'exclusive'"), HasSubstr("'1X=2'"), HasSubstr("--account: a line break")));
}

TEST(CheckOfARequest, AnArrayEndsWhereTheSitesArraysEnd) {
  JobRequest request = small_request();
  Site site;
  site.max_array_size = 10;
  request.array = "0-9%20";
  EXPECT_THAT(check(request, site, line()), IsEmpty());
  request.array = "0-3,5-10:200";
  EXPECT_THAT(check(request, site, line()), ElementsAre(HasSubstr("end at index 9")));
}

TEST(Sites, TheExampleIsOneAndHasTheDefaults) {
  const Site example = load_site(DORMER_SOURCE "/cluster/sites/example.yaml");
  EXPECT_EQ(example.launcher, "mpirun");
  EXPECT_EQ(example.max_array_size, 1001);
  EXPECT_THAT(check(small_request(), example, line()), IsEmpty());
}

TEST(Sites, AMistakeIsAUsageError) {
  const test::TempDirectory folder;
  const std::string file = (folder.path() / "site.yaml").string();
  std::ofstream(file) << "launcher: prun\nmodule: gcc\n";
  try {
    (void)load_site(file);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kUsage);
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr(":1: launcher"), HasSubstr(":2: module: unknown key; did you mean 'modules'?")));
  }
}

}  // namespace
}  // namespace dormer::cli
