#pragma once

#include <functional>
#include <string>

namespace dormer::cli {

/// Where a benchmark computes.
struct BenchDevice {
  std::string name = "cpu";                   ///< as LibTorch writes it
  std::string description = "CPU";            ///< "GPU 0 (NVIDIA L4, 22.0 GiB), driver …"
  std::function<void()> synchronize = [] {};  ///< returns when all that was asked of the device is done
};

/// The device that `wanted` (cpu, cuda or auto) stands for, chosen as run.device is; throws the same usage errors.
[[nodiscard]] BenchDevice take_bench_device(const std::string& wanted);

}  // namespace dormer::cli
