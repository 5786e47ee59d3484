#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "dormer/comm/communicator.hpp"
#include "dormer/device/gpu.hpp"
#include "dormer/device/libraries.hpp"

namespace dormer::kernels {
class Kernels;
}

namespace dormer::device {

/// How the NCCL communicator is made.
struct NcclOptions {
  int device = 0;                   ///< index of this rank's GPU
  std::int64_t seconds_wait = 600;  ///< a creation or an operation that takes longer is an error
};

/// What the CUDA module offers. Functions throw `Error`, with the CUDA call and the remedy in one line.
struct CudaModule {
  const char* build_id = nullptr;    ///< must equal `cuda_build_id()`
  const char* device_type = "cuda";  ///< LibTorch's name of the devices that it serves
  LibraryVersions (*libraries)() = nullptr;
  /// The visible GPUs; no GPU is no error.
  std::vector<Gpu> (*gpus)() = nullptr;
  /// Throws a usage error unless this build has code for the GPU. Makes it the current device of this thread.
  void (*select)(int device) = nullptr;
  /// Bytes that a new allocation on the device could take now.
  std::int64_t (*free_bytes)(int device) = nullptr;
  /// LibTorch's current stream of the device, a `cudaStream_t`.
  void* (*current_stream)(int device) = nullptr;
  /// Returns when everything that was put on the device's streams is done. For tests and timings.
  void (*synchronize)(int device) = nullptr;
  /// Every operation of `kernels` as launches on LibTorch's current stream of the current device.
  const kernels::Kernels& (*kernels)() = nullptr;
  /// A communicator over device buffers for the ranks of `rendezvous`, over which NCCL's id is spread. All ranks call.
  std::unique_ptr<comm::Communicator> (*nccl)(comm::Communicator& rendezvous, const NcclOptions& options) = nullptr;
};

/// Name and type of the module's one exported function.
inline constexpr const char* kCudaModuleSymbol = "dormer_cuda_module";
using CudaModuleFunction = const CudaModule* (*)();

/// The version and a hash of the headers that program and module share.
[[nodiscard]] const char* cuda_build_id();

/// Loads LibTorch's GPU half and then the module (`libdormer_cuda.so` beside `libdormer.so`, or the file that
/// DORMER_CUDA_MODULE names), and registers its kernels. Call before the first question to LibTorch about CUDA and
/// before the first backward pass. Usage errors name the remedy where one of them is missing, of another build, or with
/// older libraries than it was built with. Later calls are free.
[[nodiscard]] const CudaModule& load_cuda_module();

}  // namespace dormer::device
