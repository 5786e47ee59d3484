#include "bench_device.hpp"

#include <optional>

#include "dormer/comm/world.hpp"
#include "dormer/core/error.hpp"
#include "dormer/device/choice.hpp"
#include "dormer/device/cuda_module.hpp"
#include "dormer/device/probe.hpp"

namespace dormer::cli {

BenchDevice take_bench_device(const std::string& wanted) {
  require(wanted == "auto" || wanted == "cpu" || wanted == "cuda", Fault::kUsage,
          "--device: auto, cpu or cuda, not '{}'", wanted);
  const device::DeviceRequest request{.wanted = wanted, .environment = comm::current_environment()};
  const device::GpuProbe probe = device::asks_for_gpus(request) ? device::probe_gpus() : device::GpuProbe{};
  const std::optional<device::Gpu> gpu = device::choose_device(request, probe);
  if (!gpu) {
    return {};
  }
  const device::CudaModule& module = device::load_cuda_module();
  const int index = gpu->index;
  module.select(index);
  return {.name = fmt::format("cuda:{}", index),
          .description = device::describe(*gpu, probe),
          .synchronize = [&module, index] { module.synchronize(index); }};
}

}  // namespace dormer::cli
