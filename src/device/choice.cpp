#include "dormer/device/choice.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <map>
#include <utility>
#include <vector>

#include <fmt/ranges.h>

#include "dormer/core/error.hpp"

namespace dormer::device {
namespace {

constexpr int kOldestDriver = 580;  // of CUDA 13
constexpr std::pair<int, int> kOldestCapability{7, 5};
constexpr std::string_view kVisible = "CUDA_VISIBLE_DEVICES";
constexpr std::array<const char*, 4> kSlurmGpus{"SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS_ON_NODE",
                                                "SLURM_GPUS_PER_TASK"};

std::string value_of(const comm::Environment& environment, std::string_view name) {
  const auto found = environment.find(std::string(name));
  return found == environment.end() ? std::string() : found->second;
}

/// Somebody took every GPU away on purpose; "NoDevFiles" is Slurm's word for a job without GPUs.
bool are_hidden(const comm::Environment& environment) {
  const std::string visible = value_of(environment, kVisible);
  return environment.contains(std::string(kVisible)) &&
         (visible.empty() || visible.starts_with("-1") || visible == "NoDevFiles");
}

/// Who says that there should be a GPU; empty: nobody.
std::string witness_of(const comm::Environment& environment, const GpuProbe& probe) {
  if (const std::string visible = value_of(environment, kVisible); !visible.empty()) {
    return fmt::format("{}={}", kVisible, visible);
  }
  for (const char* name : kSlurmGpus) {
    if (const std::string value = value_of(environment, name); !value.empty() && value != "0") {
      return fmt::format("{}={}", name, value);
    }
  }
  if (!probe.driver.empty()) {
    return "NVIDIA's driver " + probe.driver;
  }
  return probe.device_files ? "/dev/nvidia*" : std::string();
}

/// Why no GPU can be used; empty: one can.
std::string obstacle_in(const GpuProbe& probe) {
  if (!probe.gpus.empty()) {
    return {};  // whatever the driver's number: NVIDIA's compatibility packages let older ones serve
  }
  int major = 0;
  const char* const end = probe.driver.data() + probe.driver.size();
  if (std::from_chars(probe.driver.data(), end, major).ec == std::errc() && major < kOldestDriver) {
    return fmt::format("NVIDIA's driver {} is too old for CUDA 13, which needs {} or newer; update the driver",
                       probe.driver, kOldestDriver);
  }
  if (!probe.device_files && probe.driver.empty() && probe.module_problem.empty()) {
    return "no NVIDIA driver answers here";
  }
  return !probe.module_problem.empty() ? probe.module_problem
                                       : "CUDA shows none to this process; look at nvidia-smi and CUDA_VISIBLE_DEVICES";
}

std::string gibibytes(std::int64_t bytes) {
  constexpr double kGibibyte = 1024.0 * 1024.0 * 1024.0;
  return fmt::format("{:.2f} GiB", static_cast<double>(bytes) / kGibibyte);
}

}  // namespace

bool asks_for_gpus(const DeviceRequest& request) {
  return request.wanted == "cuda" || (request.wanted == "auto" && !are_hidden(request.environment));
}

std::optional<Gpu> choose_device(const DeviceRequest& request, const GpuProbe& probe) {
  if (!asks_for_gpus(request)) {
    return std::nullopt;
  }
  require(!are_hidden(request.environment), Fault::kUsage,
          "run.device is cuda, but CUDA_VISIBLE_DEVICES={} hides every GPU; unset it, or set run.device: cpu",
          value_of(request.environment, kVisible));
  if (const std::string obstacle = obstacle_in(probe); !obstacle.empty()) {
    const std::string witness = witness_of(request.environment, probe);
    require(request.wanted == "auto", Fault::kUsage,
            "run.device is cuda, but no GPU can be used: {}; set run.device: cpu to train on the CPU", obstacle);
    require(witness.empty(), Fault::kUsage,
            "there should be a GPU here ({}), but none can be used: {}; set run.device: cpu to train on the CPU",
            witness, obstacle);
    return std::nullopt;
  }
  const auto count = static_cast<int>(probe.gpus.size());
  // Where a launcher shows each rank a GPU of its own, every rank sees one.
  require(count == 1 || request.local_size <= count, Fault::kUsage,
          "{} ranks on this machine have {} GPUs; start at most one rank per GPU (mpirun --map-by ppr:{}:node, srun "
          "--ntasks-per-node={}), or set run.device: cpu",
          request.local_size, count, count, count);
  const Gpu& gpu = probe.gpus[static_cast<std::size_t>(request.local_rank % count)];
  require(std::pair(gpu.major, gpu.minor) >= kOldestCapability, Fault::kUsage,
          "GPU {} ({}) has compute capability {}.{}, and CUDA 13 needs {}.{} or newer; use another GPU "
          "(CUDA_VISIBLE_DEVICES), or set run.device: cpu",
          gpu.index, gpu.name, gpu.major, gpu.minor, kOldestCapability.first, kOldestCapability.second);
  return gpu;
}

void require_sound_places(std::span<const RankPlace> ranks) {
  std::map<std::string, std::vector<std::size_t>> users;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    users[ranks[rank].uuid].push_back(rank);
  }
  if (const auto on_cpu = users.find(""); on_cpu != users.end()) {
    require(users.size() == 1, Fault::kUsage,
            "some ranks have a GPU and others ({}) none; use machines that are alike, or set run.device: cpu",
            fmt::join(on_cpu->second, ", "));
    return;
  }
  for (const auto& [uuid, sharing] : users) {
    require(sharing.size() == 1, Fault::kUsage,
            "ranks {} on {} share one GPU ({}), and NCCL takes one rank per GPU; start one rank per GPU, or give each "
            "rank its own (srun --gpus-per-task=1)",
            fmt::join(sharing, ", "), ranks[sharing.front()].host, uuid);
  }
}

void require_memory(std::span<const MemoryPart> parts, std::int64_t free_bytes, const Gpu& gpu) {
  std::int64_t sum = 0;
  std::vector<std::string> sizes;
  for (const MemoryPart& part : parts) {
    sum += part.bytes;
    sizes.push_back(fmt::format("{} {}", part.what, gibibytes(part.bytes)));
  }
  require(sum <= free_bytes, Fault::kUsage,
          "GPU {} ({}) has {} free of {}, and this run needs at least {} ({}); use a larger GPU, a smaller batch.micro "
          "or run.recompute: true",
          gpu.index, gpu.name, gibibytes(free_bytes), gibibytes(gpu.total_bytes), gibibytes(sum),
          fmt::join(sizes, ", "));
}

std::string describe(const Gpu& gpu, const GpuProbe& probe) {
  return fmt::format("GPU {} ({}, {}, compute capability {}.{}), driver {}, {}", gpu.index, gpu.name,
                     gibibytes(gpu.total_bytes), gpu.major, gpu.minor, probe.driver.empty() ? "unknown" : probe.driver,
                     probe.versions);
}

std::string driver_version(std::string_view text) {
  const std::string_view first_line = text.substr(0, text.find('\n'));
  if (!first_line.starts_with("NVRM version:")) {
    return {};
  }
  // "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build …": the first word that is a
  // number with dots.
  constexpr std::string_view kDigits = "0123456789";
  std::size_t begin = 0;
  while ((begin = first_line.find_first_of(kDigits, begin)) != std::string_view::npos) {
    const std::size_t end = std::min(first_line.find(' ', begin), first_line.size());
    const std::string_view word = first_line.substr(begin, end - begin);
    const bool is_version = word.find_first_not_of("0123456789.") == std::string_view::npos &&
                            word.find('.') != std::string_view::npos && first_line[begin - 1] == ' ';
    if (is_version) {
      return std::string(word);
    }
    begin = end;
  }
  return {};
}

}  // namespace dormer::device
