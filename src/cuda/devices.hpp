#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dormer/device/cuda_module.hpp"

namespace dormer::cuda {

// What the table of the module promises; dormer/device/cuda_module.hpp says it.
[[nodiscard]] device::LibraryVersions libraries();
[[nodiscard]] std::vector<device::Gpu> gpus();
void select(int device);
[[nodiscard]] std::int64_t free_bytes(int device);
[[nodiscard]] void* current_stream(int device);
void synchronize(int device);

}  // namespace dormer::cuda
