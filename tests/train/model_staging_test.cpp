#include "train/model_staging.hpp"

#include <fstream>

#include <gmock/gmock.h>

#include "dormer/comm/single.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "support/temp_directory.hpp"
#include "support/tiny_model.hpp"
#include "train/fingerprint.hpp"

namespace dormer::train {
namespace {

namespace fs = std::filesystem;

TEST(StagingFolder, IsWhatTheConfigurationNames) {
  EXPECT_EQ(staging_folder("/scratch/models", false, {}), fs::path("/scratch/models"));
  EXPECT_FALSE(staging_folder("none", true, {{"TMPDIR", "/scratch"}}));
}

TEST(StagingFolder, IsTheJobsScratchForAModelOfTheNetworkAlone) {
  const comm::Environment job{{"SLURM_JOB_ID", "71"}, {"SLURM_TMPDIR", "/local/71"}, {"TMPDIR", "/tmp"}};
  EXPECT_EQ(staging_folder("auto", true, job), fs::path("/local/71"));
  EXPECT_EQ(staging_folder("auto", true, {{"SLURM_JOB_ID", "71"}, {"TMPDIR", "/tmp"}}), fs::path("/tmp"));
  EXPECT_FALSE(staging_folder("auto", true, {{"TMPDIR", "/tmp"}})) << "a person's own machine";
  EXPECT_FALSE(staging_folder("auto", false, job)) << "a local disk is as near";
  EXPECT_FALSE(staging_folder("auto", true, {})) << "no scratch";
}

class Staging : public ::testing::Test {
 protected:
  Staging() { test::write_tiny_model(model_); }
  test::TempDirectory folder_;
  fs::path model_ = folder_.path() / "model";
  fs::path place_ = folder_.path() / "scratch";
};

TEST_F(Staging, ACopyIsTheModelAndIsMadeOnce) {
  int pieces = 0;
  const fs::path copy = copy_model(model_, place_, [&] { ++pieces; });
  EXPECT_EQ(copy.parent_path(), place_);
  EXPECT_EQ(model_fingerprint(copy), model_fingerprint(model_));
  EXPECT_EQ(read_file(copy / "model.safetensors", "copy"), read_file(model_ / "model.safetensors", "original"));
  EXPECT_GT(pieces, 0);
  pieces = 0;
  EXPECT_EQ(copy_model(model_, place_, [&] { ++pieces; }), copy);
  EXPECT_EQ(pieces, 0) << "it was there";
}

TEST_F(Staging, AnotherModelGetsACopyOfItsOwn) {
  const fs::path copy = copy_model(model_, place_, [] {});
  test::write_tiny_model(model_, {.seed = 99});
  EXPECT_NE(copy_model(model_, place_, [] {}), copy);
}

TEST_F(Staging, WhatAKilledCopyLeftIsRemoved) {
  fs::create_directories(place_);
  const fs::path left = place_ / "dormer-0123.tmp-4194305";  // above the kernel's largest process number
  fs::create_directory(left);
  std::ofstream(left / "config.json") << "{";
  static_cast<void>(copy_model(model_, place_, [] {}));
  EXPECT_FALSE(fs::exists(left));
}

TEST_F(Staging, RoomIsWhatADiskHasFree) {
  EXPECT_TRUE(is_roomy(folder_.path(), 1));
  EXPECT_FALSE(is_roomy(folder_.path(), std::uintmax_t{1} << 60U));
  EXPECT_FALSE(is_roomy("/dev/shm", 1)) << "memory";
}

TEST_F(Staging, APlaceThatCannotBeMadeIsAnIoError) {
  std::ofstream(place_) << "a file";
  const std::unique_ptr<comm::Communicator> alone = comm::single();
  try {
    static_cast<void>(stage_model(*alone, model_, place_.string(), [] {}));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kIo);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("model.stage"));
  }
  EXPECT_EQ(stage_model(*alone, model_, "none", [] {}), model_);
}

}  // namespace
}  // namespace dormer::train
