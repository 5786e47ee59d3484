#include "dormer/device/cuda_module.hpp"

#include "cuda/devices.hpp"
#include "cuda/launches.hpp"
#include "cuda/nccl_communicator.hpp"

extern "C" __attribute__((visibility("default"))) const dormer::device::CudaModule* dormer_cuda_module() {
  namespace cuda = dormer::cuda;
  static const dormer::device::CudaModule kModule{.build_id = DORMER_CUDA_BUILD_ID,
                                                  .libraries = &cuda::libraries,
                                                  .gpus = &cuda::gpus,
                                                  .select = &cuda::select,
                                                  .free_bytes = &cuda::free_bytes,
                                                  .current_stream = &cuda::current_stream,
                                                  .synchronize = &cuda::synchronize,
                                                  .kernels = &cuda::launches,
                                                  .nccl = &cuda::make_nccl_communicator};
  return &kModule;
}
