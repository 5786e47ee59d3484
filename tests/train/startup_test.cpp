#include "train/startup.hpp"

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"
#include "train/exporting.hpp"

namespace dormer::train {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

void expect_refusal(const std::string& device, const comm::Environment& environment, bool device_files,
                    const std::string& text) {
  try {
    require_cpu_is_meant(device, environment, device_files);
    FAIL() << text;
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kUsage);
    EXPECT_THAT(error.what(), HasSubstr(text));
  }
}

TEST(Device, AMachineWithoutGpusTrainsOnItsCpu) {
  EXPECT_NO_THROW(require_cpu_is_meant("auto", {}, false));
}

TEST(Device, DoesNotTrainOnACpuWhereThereShouldBeAGpu) {
  expect_refusal("auto", {}, true, "/dev/nvidia*");
  expect_refusal("auto", {{"CUDA_VISIBLE_DEVICES", "0"}}, false, "CUDA_VISIBLE_DEVICES=0");
  expect_refusal("auto", {{"SLURM_GPUS_ON_NODE", "4"}}, false, "SLURM_GPUS_ON_NODE=4");
  expect_refusal("cuda", {}, false, "run.device: cpu");
}

TEST(Device, SomebodyWhoAsksForTheCpuGetsIt) {
  EXPECT_NO_THROW(require_cpu_is_meant("cpu", {{"CUDA_VISIBLE_DEVICES", "0"}}, true));
  EXPECT_NO_THROW(require_cpu_is_meant("auto", {{"CUDA_VISIBLE_DEVICES", ""}}, true)) << "hidden on purpose";
}

TEST(Exports, EveryOneHasAFolderOfItsOwn) {
  RunConfig config;
  config.run.directory = "runs/a";
  config.exports.resize(2);
  config.exports[0].consumer = config.exports[1].consumer = "peft";
  config.exports[1].name = "second";
  EXPECT_THAT(
      export_folders(config, RunPaths{"runs/a"}),
      ElementsAre(std::filesystem::path("runs/a/export/peft"), std::filesystem::path("runs/a/export/peft-second")));
}

}  // namespace
}  // namespace dormer::train
