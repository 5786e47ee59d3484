#pragma once

#include <string_view>

#include <cuda_runtime_api.h>

namespace dormer::cuda {

/// Throws unless `status` is success: the call, what CUDA says, the device, and what to do, in one line. Also clears
/// the error, so that a later call does not report it again.
void check(cudaError_t status, std::string_view call);

}  // namespace dormer::cuda
