#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dormer::device {

/// One GPU as the CUDA runtime shows it to this process.
struct Gpu {
  int index = 0;     ///< among the visible ones
  std::string name;  ///< "NVIDIA H100 80GB HBM3"
  std::string uuid;  ///< the same in every process that sees this device
  int major = 0;     ///< compute capability
  int minor = 0;
  std::int64_t total_bytes = 0;
};

/// What this machine shows of GPUs before one is used.
struct GpuProbe {
  bool device_files = false;   ///< /dev/nvidia0, …
  std::string driver;          ///< version of the loaded driver, as "580.65.06"; empty: unknown or none
  std::string module_problem;  ///< why the CUDA module could not answer; empty: it did, or nothing called for it
  std::string versions;        ///< of runtime and NCCL, as the module says them
  std::vector<Gpu> gpus;
};

}  // namespace dormer::device
