#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>

#include "support/program.hpp"

namespace dormer::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

/// A folder to submit from. Its `sbatch` keeps what it was given and ends with the exit code in the file `answer`.
class Submission : public testing::Test {
 protected:
  Submission() {
    write("mine.yaml",
          "run: {directory: runs/mine, steps: 2, threads: 3}\nmodel: {path: model}\nadapter: {rank: 4}\n"
          "data: {train: train.h5}\nexport: [{for: peft}]\n");
    std::filesystem::create_directory(folder() / "bin");
    write("bin/sbatch", "#!/bin/sh\ncp \"$1\" submitted.sh\necho Submitted batch job 12\nexit $(cat answer)\n");
    std::filesystem::permissions(folder() / "bin" / "sbatch", std::filesystem::perms::owner_all);
    write("answer", "0\n");
  }

  [[nodiscard]] std::filesystem::path folder() const { return directory_.path(); }
  [[nodiscard]] bool was_submitted() const { return std::filesystem::exists(folder() / "submitted.sh"); }
  void write(const std::string& name, const std::string& text) const { std::ofstream(folder() / name) << text; }

  [[nodiscard]] test::ProgramResult submit(const std::string& arguments,
                                           const std::string& path = "bin:/usr/bin:/bin") {
    return test::run_program("env", "PATH=" + path + " '" DORMER_PROGRAM "' submit " + arguments, folder());
  }

 private:
  test::TempDirectory directory_;
};

TEST_F(Submission, WritesShowsAndSubmitsTheSameScript) {
  const test::ProgramResult result = submit("mine.yaml --nodes 2 --time 30 --account me --set adapter.rank=8");
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  const std::string script = test::read_text(folder() / "submitted.sh");
  EXPECT_EQ(result.output, script + "Submitted batch job 12\n");
  EXPECT_EQ(test::read_text(folder() / "runs" / "mine.sbatch"), script);
  EXPECT_THAT(script, AllOf(StartsWith("#!/usr/bin/env bash\n"), HasSubstr("#SBATCH --job-name=mine\n"),
                            HasSubstr("#SBATCH --nodes=2\n"), HasSubstr("#SBATCH --cpus-per-task=3\n"),
                            HasSubstr("#SBATCH --account=me\n"), HasSubstr("/runs/mine-%j.log\n"),
                            HasSubstr("\nset -- 'mine.yaml' '--set' 'adapter.rank=8'\n")));
}

TEST_F(Submission, ADryRunOnlyShows) {
  const test::ProgramResult result = submit("mine.yaml --array 0-3 --dry-run");
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output, AllOf(HasSubstr("#SBATCH --array=0-3\n"), HasSubstr("/runs/mine-%A_%a.log\n")));
  EXPECT_FALSE(was_submitted());
  EXPECT_FALSE(std::filesystem::exists(folder() / "runs"));
}

TEST_F(Submission, WhatIsWrongIsNotSubmitted) {
  for (const std::string arguments :
       {"mine.yaml --set adapter.rnak=8", "absent.yaml", "mine.yaml --time soon", "mine.yaml --site nowhere"}) {
    const test::ProgramResult result = submit(arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments;
    EXPECT_THAT(result.errors, StartsWith("error: ")) << arguments;
    EXPECT_THAT(result.output, IsEmpty()) << arguments;
  }
  EXPECT_FALSE(was_submitted());
}

TEST_F(Submission, TellsWhereSlurmRefusesOrIsMissing) {
  write("answer", "1\n");
  const test::ProgramResult refused = submit("mine.yaml");
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.errors, HasSubstr("sbatch did not take"));
  const test::ProgramResult missing = submit("mine.yaml", "/nowhere");
  EXPECT_EQ(missing.exit_code, 2);
  EXPECT_THAT(missing.errors, HasSubstr("sbatch cannot be started (No such file or directory)"));
}

TEST_F(Submission, ASiteOfTheWorkingDirectoryHasAName) {
  std::filesystem::create_directories(folder() / "cluster" / "sites");
  write("cluster/sites/ours.yaml", "{launcher: srun, account: us, modules: [openmpi], requeue: no}\n");
  const test::ProgramResult result = submit("mine.yaml --site ours --dry-run");
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output, AllOf(HasSubstr("#SBATCH --account=us\n"), HasSubstr("module load openmpi || exit 2\n"),
                                   HasSubstr("DORMER_LAUNCHER='srun'\n"), HasSubstr("DORMER_REQUEUE='no'\n")));
}

}  // namespace
}  // namespace dormer::cli
