#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "dormer/comm/world.hpp"
#include "dormer/device/gpu.hpp"

namespace dormer::device {

/// What a rank asks for, and what it knows of itself.
struct DeviceRequest {
  std::string wanted = "auto";    ///< run.device: auto | cpu | cuda
  comm::Environment environment;  ///< the variables of this process
  int local_rank = 0;             ///< among the ranks of this machine
  int local_size = 1;
};

/// Whether the request needs a probe at all: the CPU was asked for, or somebody hid every GPU from an automatic choice.
[[nodiscard]] bool asks_for_gpus(const DeviceRequest& request);

/// The GPU of this rank, by its number on this machine; none: the CPU. Throws a usage error, with reason and remedy,
/// where a GPU was asked for or ought to be there (Slurm, CUDA_VISIBLE_DEVICES, /dev/nvidia*) and cannot be used: never
/// trains on a CPU by accident. Pure.
[[nodiscard]] std::optional<Gpu> choose_device(const DeviceRequest& request, const GpuProbe& probe);

/// One rank's place, as all ranks see it.
struct RankPlace {
  std::string host;
  std::string uuid;  ///< empty: this rank computes on its CPU
};

/// Throws a usage error where two ranks use one GPU, or where some ranks have a GPU and others none. Pure.
void require_sound_places(std::span<const RankPlace> ranks);

/// One thing that lies on a device during training.
struct MemoryPart {
  std::string_view what;
  std::int64_t bytes = 0;
};

/// Throws a usage error with all sizes unless the parts fit in `free_bytes` of the GPU. Pure.
void require_memory(std::span<const MemoryPart> parts, std::int64_t free_bytes, const Gpu& gpu);

/// "GPU 1 (NVIDIA L4, 22.0 GiB), driver 580.65.06, CUDA 13.0, …". Pure.
[[nodiscard]] std::string describe(const Gpu& gpu, const GpuProbe& probe);

/// The driver's version in the text of /proc/driver/nvidia/version; empty where there is none. Pure.
[[nodiscard]] std::string driver_version(std::string_view text);

}  // namespace dormer::device
