#include "dormer/device/choice.hpp"

#include <vector>

#include <gmock/gmock.h>

#include "dormer/core/error.hpp"

namespace dormer::device {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::int64_t kGibibyte = std::int64_t{1} << 30;

Gpu gpu(int index) {
  return {.index = index,
          .name = "NVIDIA L4",
          .uuid = "GPU-" + std::to_string(index),
          .major = 8,
          .minor = 9,
          .total_bytes = 22 * kGibibyte};
}

GpuProbe machine(int gpus) {
  GpuProbe probe{.device_files = true,
                 .driver = "580.65.06",
                 .module_problem = {},
                 .versions = "CUDA 13.0, driver interface 13.0, NCCL 2.28.9",
                 .gpus = {}};
  for (int index = 0; index < gpus; ++index) {
    probe.gpus.push_back(gpu(index));
  }
  return probe;
}

DeviceRequest wants(std::string device, comm::Environment environment = {}) {
  return {.wanted = std::move(device), .environment = std::move(environment), .local_rank = 0, .local_size = 1};
}

std::string complaint(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kUsage);
    EXPECT_THAT(std::string(error.what()), Not(HasSubstr("\n")));
    return error.what();
  }
  return "accepted";
}

std::string refusal(const DeviceRequest& request, const GpuProbe& probe) {
  return complaint([&] { static_cast<void>(choose_device(request, probe)); });
}

TEST(DeviceChoice, AMachineWithoutGpusTrainsOnItsCpu) {
  EXPECT_FALSE(choose_device(wants("auto"), {}).has_value());
}

TEST(DeviceChoice, AGpuIsTakenWhereThereIsOne) {
  EXPECT_EQ(choose_device(wants("auto"), machine(1)).value().uuid, "GPU-0");
  EXPECT_EQ(choose_device(wants("cuda"), machine(1)).value().uuid, "GPU-0");
}

TEST(DeviceChoice, SomebodyWhoAsksForTheCpuGetsIt) {
  EXPECT_FALSE(choose_device(wants("cpu", {{"CUDA_VISIBLE_DEVICES", "0"}}), machine(2)).has_value());
  for (const char* nothing : {"", "-1", "NoDevFiles"}) {
    const DeviceRequest request = wants("auto", {{"CUDA_VISIBLE_DEVICES", nothing}, {"SLURM_JOB_GPUS", "0"}});
    EXPECT_FALSE(asks_for_gpus(request)) << nothing;
    EXPECT_FALSE(choose_device(request, machine(2)).has_value()) << nothing;
  }
}

TEST(DeviceChoice, DoesNotTrainOnACpuWhereThereShouldBeAGpu) {
  EXPECT_THAT(refusal(wants("auto", {{"CUDA_VISIBLE_DEVICES", "0"}}), {}),
              AllOf(HasSubstr("there should be a GPU here (CUDA_VISIBLE_DEVICES=0)"), HasSubstr("run.device: cpu")));
  for (const char* name : {"SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS_ON_NODE", "SLURM_GPUS_PER_TASK"}) {
    EXPECT_THAT(refusal(wants("auto", {{name, "4"}}), {}), HasSubstr(std::string(name) + "=4"));
    EXPECT_EQ(refusal(wants("auto", {{name, "0"}}), {}), "accepted");
  }
  GpuProbe only_files;
  only_files.device_files = true;
  EXPECT_THAT(refusal(wants("auto"), only_files), HasSubstr("(/dev/nvidia*)"));
  EXPECT_THAT(refusal(wants("auto"), machine(0)), HasSubstr("(NVIDIA's driver 580.65.06)"));
}

TEST(DeviceChoice, WhyTheModuleIsOutOfUseIsSaid) {
  GpuProbe probe = machine(0);
  probe.module_problem = "there is no CUDA module here";
  EXPECT_THAT(refusal(wants("auto"), probe), HasSubstr("there is no CUDA module here"));
  EXPECT_THAT(refusal(wants("cuda"), probe),
              AllOf(HasSubstr("run.device is cuda"), HasSubstr("there is no CUDA module here")));
}

TEST(DeviceChoice, CudaNeedsAGpuThatIsVisible) {
  EXPECT_THAT(refusal(wants("cuda"), {}), HasSubstr("no NVIDIA driver answers here; set run.device: cpu"));
  EXPECT_THAT(refusal(wants("cuda"), machine(0)), HasSubstr("CUDA shows none to this process"));
  EXPECT_THAT(refusal(wants("cuda", {{"CUDA_VISIBLE_DEVICES", "-1"}}), machine(2)), HasSubstr("hides every GPU"));
}

TEST(DeviceChoice, ADriverOlderThanCudaNeedsIsOneClearLine) {
  GpuProbe probe = machine(0);
  probe.driver = "550.54.15";
  probe.module_problem = "cudaGetDeviceCount: CUDA driver version is insufficient";
  for (const char* device : {"auto", "cuda"}) {
    EXPECT_THAT(refusal(wants(device), probe),
                AllOf(HasSubstr("NVIDIA's driver 550.54.15 is too old for CUDA 13, which needs 580 or newer"),
                      HasSubstr("update the driver")));
  }
  probe.driver = "580.65.06";
  EXPECT_THAT(refusal(wants("cuda"), probe), HasSubstr("driver version is insufficient"));
  probe = machine(1);
  probe.driver = "550.54.15";
  EXPECT_EQ(refusal(wants("cuda"), probe), "accepted") << "a compatibility package lets it serve";
}

TEST(DeviceChoice, EachRankOfAMachineHasAGpuOfItsOwn) {
  for (int rank = 0; rank < 4; ++rank) {
    DeviceRequest request = wants("auto");
    request.local_rank = rank;
    request.local_size = 4;
    EXPECT_EQ(choose_device(request, machine(4)).value().index, rank);
    EXPECT_EQ(choose_device(request, machine(1)).value().index, 0) << "a launcher shows each rank its own";
    EXPECT_THAT(refusal(request, machine(3)), HasSubstr("4 ranks on this machine have 3 GPUs"));
  }
}

TEST(DeviceChoice, AGpuOlderThanOurCodeIsRefused) {
  GpuProbe probe = machine(1);
  probe.gpus[0].major = 7;
  probe.gpus[0].minor = 0;
  EXPECT_THAT(refusal(wants("auto"), probe), HasSubstr("compute capability 7.0, and CUDA 13 needs 7.5 or newer"));
  probe.gpus[0].minor = 5;
  EXPECT_EQ(refusal(wants("auto"), probe), "accepted");
}

TEST(RankPlaces, TwoRanksOnOneGpuAreRefused) {
  const std::vector<RankPlace> apart{{"a", "GPU-0"}, {"a", "GPU-1"}, {"b", "GPU-2"}};
  EXPECT_NO_THROW(require_sound_places(apart));
  const std::vector<RankPlace> sharing{{"a", "GPU-0"}, {"b", "GPU-1"}, {"b", "GPU-1"}};
  EXPECT_THAT(complaint([&] { require_sound_places(sharing); }),
              AllOf(HasSubstr("ranks 1, 2 on b share one GPU (GPU-1)"), HasSubstr("one rank per GPU")));
}

TEST(RankPlaces, RanksAreAllOnGpusOrAllOnCpus) {
  const std::vector<RankPlace> cpus{{"a", ""}, {"a", ""}};
  EXPECT_NO_THROW(require_sound_places(cpus));
  const std::vector<RankPlace> mixed{{"a", "GPU-0"}, {"b", ""}, {"c", ""}};
  EXPECT_THAT(complaint([&] { require_sound_places(mixed); }), HasSubstr("others (1, 2) none"));
}

TEST(GpuMemory, WhatDoesNotFitIsSaidWithItsSizes) {
  const std::vector<MemoryPart> parts{{"frozen base", 15 * kGibibyte}, {"adapters", kGibibyte / 2}};
  EXPECT_NO_THROW(require_memory(parts, 31 * kGibibyte / 2, gpu(1)));
  EXPECT_THAT(complaint([&] { require_memory(parts, 31 * kGibibyte / 2 - 1, gpu(1)); }),
              AllOf(HasSubstr("GPU 1 (NVIDIA L4) has 15.50 GiB free of 22.00 GiB"),
                    HasSubstr("at least 15.50 GiB (frozen base 15.00 GiB, adapters 0.50 GiB)")));
}

TEST(Driver, ItsVersionIsReadFromTheKernelModulesText) {
  EXPECT_EQ(driver_version("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n"
                           "GCC version:  gcc version 12.2.0\n"),
            "550.54.15");
  EXPECT_EQ(driver_version("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  "
                           "(dvs-builder@U22-I3)  Sun Jul 27 07:19:15 UTC 2025\n"),
            "580.65.06");
  EXPECT_EQ(driver_version("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.82  Release Build\n"),
            "580.82");
  EXPECT_THAT(driver_version(""), IsEmpty());
  EXPECT_THAT(driver_version("something 1.2.3"), IsEmpty());
}

TEST(Driver, TheFirstLinesNameDeviceAndVersions) {
  EXPECT_EQ(describe(gpu(1), machine(2)),
            "GPU 1 (NVIDIA L4, 22.00 GiB, compute capability 8.9), driver 580.65.06, CUDA 13.0, driver interface 13.0, "
            "NCCL 2.28.9");
}

}  // namespace
}  // namespace dormer::device
