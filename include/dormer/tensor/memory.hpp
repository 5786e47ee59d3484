#pragma once

#include <cstdint>

namespace dormer::tensor {

/// Where tensors lie.
enum class TensorMemory {
  kHost,    ///< the CPU's memory
  kShapes,  ///< nowhere: tensors on LibTorch's device "meta" have shapes and no numbers, so a run can be rehearsed
};

/// Bytes of tensors that LibTorch has allocated and not freed: converted base weights, parameters, gradients, moments,
/// activations. Weights that are a file's mapping are not among them. For `kShapes` the bytes that there would be.
struct MemoryUse {
  std::int64_t live = 0;
  std::int64_t peak = 0;  ///< the largest `live` since the process started, or since `reset_peak_memory`
};

/// Counts from now on; called once, by `configure_process`, before any tensor is made. Two additions an allocation.
void count_memory();
[[nodiscard]] MemoryUse memory_use(TensorMemory where = TensorMemory::kHost);
void reset_peak_memory(TensorMemory where = TensorMemory::kHost);

/// The most memory that the system has given this process at one time, in bytes, mapped files included: VmHWM of
/// /proc/self/status. 0 where the system does not tell.
[[nodiscard]] std::int64_t peak_resident_bytes();

}  // namespace dormer::tensor
