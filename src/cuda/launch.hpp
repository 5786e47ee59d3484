#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

namespace dormer::cuda {

/// Puts items 0 to count - 1 of one operation (count > 0) of kernels::EveryOperation on the stream; see launches.cu.
template <typename Arguments>
[[nodiscard]] cudaError_t launch(const Arguments& arguments, std::int64_t count, cudaStream_t stream);

}  // namespace dormer::cuda
