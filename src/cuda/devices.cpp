#include "cuda/devices.hpp"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <c10/cuda/CUDAStream.h>

#include "cuda/cuda_status.hpp"
#include "cuda/device_code.hpp"
#include "dormer/core/error.hpp"

namespace dormer::cuda {
namespace {

std::string uuid_text(const cudaUUID_t& uuid) {
  std::string text = "GPU-";
  for (std::size_t i = 0; i < sizeof(uuid.bytes); ++i) {
    const bool dash = i == 4 || i == 6 || i == 8 || i == 10;
    text += fmt::format("{}{:02x}", dash ? "-" : "", static_cast<unsigned char>(uuid.bytes[i]));
  }
  return text;
}

}  // namespace

device::LibraryVersions libraries() {
  device::LibraryVersions found{.runtime_built = CUDART_VERSION, .nccl_built = NCCL_VERSION_CODE};
  check(cudaRuntimeGetVersion(&found.runtime_loaded), "cudaRuntimeGetVersion");
  check(cudaDriverGetVersion(&found.driver_interface), "cudaDriverGetVersion");
  const ncclResult_t status = ncclGetVersion(&found.nccl_loaded);
  require(status == ncclSuccess, Fault::kUsage, "ncclGetVersion: {}; install NCCL again", ncclGetErrorString(status));
  return found;
}

std::vector<device::Gpu> gpus() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorNoDevice) {
    static_cast<void>(cudaGetLastError());
    return {};
  }
  check(status, "cudaGetDeviceCount");
  std::vector<device::Gpu> found;
  for (int index = 0; index < count; ++index) {
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, index), fmt::format("cudaGetDeviceProperties of GPU {}", index));
    found.push_back({.index = index,
                     .name = properties.name,
                     .uuid = uuid_text(properties.uuid),
                     .major = properties.major,
                     .minor = properties.minor,
                     .total_bytes = static_cast<std::int64_t>(properties.totalGlobalMem)});
  }
  return found;
}

void select(int device) {
  check(cudaSetDevice(device), fmt::format("cudaSetDevice of GPU {}", device));
  check(find_device_code(), "cudaFuncGetAttributes");
}

std::int64_t free_bytes(int device) {
  check(cudaSetDevice(device), fmt::format("cudaSetDevice of GPU {}", device));
  std::size_t free = 0;
  std::size_t total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return static_cast<std::int64_t>(free);
}

void* current_stream(int device) {
  return c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device)).stream();
}

void synchronize(int device) {
  check(cudaSetDevice(device), fmt::format("cudaSetDevice of GPU {}", device));
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
}

}  // namespace dormer::cuda
