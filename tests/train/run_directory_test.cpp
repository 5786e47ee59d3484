#include "train/run_directory.hpp"

#include <cstdlib>
#include <fstream>
#include <memory>
#include <thread>

#include <unistd.h>

#include <gmock/gmock.h>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "support/temp_directory.hpp"

namespace dormer::train {
namespace {

using ::testing::HasSubstr;

TEST(RunLock, MakesTheFolderAndLeavesTheLockAlone) {
  const test::TempDirectory folder;
  const RunPaths paths{folder.path() / "a" / "run"};
  const RunLock lock(paths);
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(paths.root)) {
    names.push_back(entry.path().filename());
  }
  EXPECT_THAT(names, ::testing::ElementsAre("run.lock")) << "the probe leaves nothing";
}

TEST(RunLock, ASecondOwnerIsRefusedWithTheFirstOnesName) {
  const test::TempDirectory folder;
  const RunPaths paths{folder.path()};
  {
    const RunLock first(paths);
    try {
      const RunLock second(paths);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kInUse);
      EXPECT_THAT(error.what(), HasSubstr(fmt::format("process {}", ::getpid())));
      EXPECT_THAT(error.what(), HasSubstr("host "));
    }
  }
  EXPECT_NO_THROW(RunLock{paths}) << "free again after the first owner's end";
}

TEST(RunLock, AnOwnerWhoseFileNamesAnotherOneIsNone) {
  const test::TempDirectory folder;
  const RunPaths paths{folder.path()};
  const RunLock lock(paths);
  EXPECT_NO_THROW(lock.require_ownership());
  std::ofstream(paths.lock()) << "host n7, process 12, since 2026-01-01T00:00:00Z\n";  // where locks do not work
  try {
    lock.require_ownership();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kInUse);
    EXPECT_THAT(error.what(), HasSubstr("taken over by host n7, process 12"));
  }
}

TEST(RunLock, TheEndOfAFormerLifeOfTheSameJobIsAwaited) {
  const test::TempDirectory folder;
  const RunPaths paths{folder.path()};
  ::setenv("SLURM_JOB_ID", "71", 1);
  auto former = std::make_unique<RunLock>(paths);
  std::thread successor([&] { EXPECT_NO_THROW(RunLock{paths}); });
  former.reset();
  successor.join();
  const RunLock first(paths);
  ::setenv("SLURM_JOB_ID", "72", 1);  // another job does not wait
  EXPECT_THROW(RunLock{paths}, Error);
  ::unsetenv("SLURM_JOB_ID");
}

TEST(RunLock, TheOwnerRemovesTemporariesOfDeadProcessesAlone) {
  const test::TempDirectory folder;
  const RunPaths paths{folder.path() / "run"};
  std::filesystem::create_directories(paths.checkpoints());
  const std::string dead = "4194305";  // above the kernel's largest process number
  const std::vector<std::filesystem::path> left{paths.root / (".probe-" + dead),
                                                paths.root / ("config.yaml.tmp-" + dead),
                                                paths.checkpoints() / ("LATEST.tmp-" + dead)};
  const std::vector<std::filesystem::path> kept{paths.root / "notes.tmp-today", paths.root / "a.tmp-12b",
                                                paths.root / fmt::format("report.html.tmp-{}", ::getpid()),
                                                paths.checkpoints() / "LATEST"};
  for (const auto& names : {left, kept}) {
    for (const std::filesystem::path& path : names) {
      std::ofstream(path) << "x";
    }
  }
  const RunLock lock(paths);
  for (const std::filesystem::path& path : left) {
    EXPECT_FALSE(std::filesystem::exists(path)) << path;
  }
  for (const std::filesystem::path& path : kept) {
    EXPECT_TRUE(std::filesystem::exists(path)) << path;
  }
}

TEST(RunLock, ADirectoryThatCannotBeWrittenIsAnIoError) {
  try {
    const RunLock lock(RunPaths{"/proc/dormer-run"});  // refuses new files to root, too
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kIo);
    EXPECT_THAT(error.what(), HasSubstr("choose another run.directory"));
  }
}

TEST(RunLock, AFileInThePlaceOfTheDirectoryIsAnIoError) {
  const test::TempDirectory folder;
  std::ofstream(folder.path() / "run") << "a file\n";
  EXPECT_THROW(RunLock(RunPaths{folder.path() / "run"}), Error);
}

TEST(RunPaths, TraceFilesAreNamedByUpdate) {
  EXPECT_EQ(RunPaths{"runs/a"}.trace(12), std::filesystem::path("runs/a/trace/update-000000012.safetensors"));
}

}  // namespace
}  // namespace dormer::train
