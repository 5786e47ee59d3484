#include "train/placement.hpp"

#include <algorithm>
#include <fstream>
#include <functional>
#include <numeric>
#include <vector>

#include "dormer/comm/gather.hpp"
#include "dormer/comm/world.hpp"
#include "dormer/core/error.hpp"
#include "dormer/device/cuda_module.hpp"
#include "dormer/device/probe.hpp"
#include "dormer/storage/safetensors.hpp"
#include "dormer/train/available_memory.hpp"
#include "train/agreement.hpp"

namespace dormer::train {
namespace {

Placement choose(const comm::Identity& self, const std::string& wanted) {
  const device::DeviceRequest request{.wanted = wanted,
                                      .environment = comm::current_environment(),
                                      .local_rank = self.local_rank,
                                      .local_size = self.local_size};
  const device::GpuProbe probe = device::asks_for_gpus(request) ? device::probe_gpus() : device::GpuProbe{};
  Placement placement;
  placement.gpu = device::choose_device(request, probe);
  if (placement.gpu) {
    placement.description = device::describe(*placement.gpu, probe);
    placement.numbers =
        fmt::format("{} {}.{}, {}", placement.gpu->name, placement.gpu->major, placement.gpu->minor, probe.versions);
    const device::CudaModule& module = device::load_cuda_module();
    module.select(placement.gpu->index);
    placement.device = fmt::format("{}:{}", module.device_type, placement.gpu->index);
  }
  return placement;
}

// What the kernel could give without swapping. A limit of the job's own (cgroup) is not looked at.
std::int64_t machine_memory() {
  std::ifstream lines("/proc/meminfo");
  std::string name;
  std::int64_t kibibytes = 0;
  for (std::string unit; lines >> name >> kibibytes; std::getline(lines, unit)) {
    if (name == "MemAvailable:") {
      return kibibytes * 1024;
    }
  }
  return 0;
}

}  // namespace

void Placement::require_memory(std::span<const device::MemoryPart> parts) const {
  if (gpu) {
    device::require_memory(parts, device::load_cuda_module().free_bytes(gpu->index), *gpu);
  }
}

Placement take_device(comm::Communicator& communicator, const std::string& wanted) {
  Placement placement;
  agree(communicator, [&] { placement = choose(communicator.identity(), wanted); });
  const std::vector<std::string> hosts = comm::gather_texts(communicator, communicator.identity().host);
  const std::vector<std::string> uuids = comm::gather_texts(communicator, placement.gpu ? placement.gpu->uuid : "");
  agree(communicator, [&] {
    std::vector<device::RankPlace> places;
    for (std::size_t rank = 0; rank < hosts.size(); ++rank) {
      places.push_back({.host = hosts[rank], .uuid = uuids[rank]});
    }
    device::require_sound_places(places);
  });
  return placement;
}

std::int64_t available_memory(comm::Communicator& communicator, const RunConfig& config) {
  const Placement placement = take_device(communicator, config.run.device);
  std::int64_t own = 0;
  agree(communicator, [&] {
    own = placement.gpu ? device::load_cuda_module().free_bytes(placement.gpu->index)
                        : machine_memory() / communicator.identity().local_size;
  });
  return std::ranges::min(comm::gather_numbers(communicator, own));
}

std::unique_ptr<comm::Communicator> join_devices(comm::Communicator& launcher, const Placement& placement) {
  if (!placement.gpu || launcher.size() == 1) {
    return nullptr;
  }
  std::unique_ptr<comm::Communicator> joined;
  const std::optional<Failure> failure =  // not within `agree`: the ranks meet in it
      caught([&] { joined = device::load_cuda_module().nccl(launcher, {.device = placement.gpu->index}); });
  agree(launcher, [&] {
    if (failure) {
      throw Error(failure->fault, failure->message);
    }
  });
  return joined;
}

std::int64_t weight_bytes(const std::filesystem::path& folder, DType dtype) {
  std::int64_t elements = 0;
  const storage::SafetensorsSet weights = storage::SafetensorsSet::open_folder(folder);
  for (const auto& file : weights.files()) {
    for (const storage::TensorEntry& entry : file->tensors()) {
      elements += std::accumulate(entry.shape.begin(), entry.shape.end(), std::int64_t{1}, std::multiplies<>());
    }
  }
  return elements * static_cast<std::int64_t>(size_of(dtype));
}

}  // namespace dormer::train
