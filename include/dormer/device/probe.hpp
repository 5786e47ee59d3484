#pragma once

#include "dormer/device/gpu.hpp"

namespace dormer::device {

/// Looks for a driver, and only where there is a sign of one, or DORMER_CUDA_MODULE names a module, loads the CUDA
/// module and asks it for GPUs. Throws nothing: what went wrong stands in the answer.
[[nodiscard]] GpuProbe probe_gpus();

}  // namespace dormer::device
