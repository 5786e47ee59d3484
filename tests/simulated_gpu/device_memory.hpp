#pragma once

#include <cstddef>

/// The memory of the simulated GPUs: the host's, but nobody may touch it except while it is open. A host loop over a
/// device's pointer ends the program, as it would on a machine with a GPU.
namespace dormer::testing {

[[nodiscard]] void* allocate_device_memory(std::size_t bytes);
void free_device_memory(void* memory);
[[nodiscard]] std::size_t device_memory_in_use();

/// While one lives, on any thread, device memory may be read and written: what kernels and copies do.
class DeviceMemoryOpened {
 public:
  DeviceMemoryOpened();
  ~DeviceMemoryOpened();
  DeviceMemoryOpened(const DeviceMemoryOpened&) = delete;
  DeviceMemoryOpened& operator=(const DeviceMemoryOpened&) = delete;
};

}  // namespace dormer::testing
