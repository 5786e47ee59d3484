#pragma once

#include <cuda_runtime_api.h>

namespace dormer::cuda {

/// Whether this module carries code that the current device can run: `cudaErrorNoKernelImageForDevice` if not.
[[nodiscard]] cudaError_t find_device_code();

}  // namespace dormer::cuda
