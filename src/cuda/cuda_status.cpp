#include "cuda/cuda_status.hpp"

#include "dormer/core/error.hpp"

namespace dormer::cuda {
namespace {

struct Advice {
  Fault fault;
  std::string_view remedy;
};

Advice advice_for(cudaError_t status) {
  switch (status) {
    case cudaErrorMemoryAllocation:
      return {Fault::kIo, "use a smaller batch.micro, a shorter data.sequence_length or run.recompute: true"};
    case cudaErrorInsufficientDriver:
      return {Fault::kUsage, "install NVIDIA's driver 580 or newer, or set run.device: cpu"};
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice:
      return {Fault::kUsage, "look at CUDA_VISIBLE_DEVICES and nvidia-smi, or set run.device: cpu"};
    case cudaErrorNoKernelImageForDevice:
      return {Fault::kUsage, "dormer needs compute capability 7.5 or newer; use another GPU, or set run.device: cpu"};
    case cudaErrorDevicesUnavailable:
      return {Fault::kUsage, "another process owns the GPU (nvidia-smi shows it); wait for it or use another GPU"};
    case cudaErrorECCUncorrectable:
    case cudaErrorHardwareStackError:
      return {Fault::kIo, "the GPU is defective; use another one and start the run again"};
    default:
      return {Fault::kIo, "start the run again; if it happens again, look at nvidia-smi and the kernel's log"};
  }
}

}  // namespace

void check(cudaError_t status, std::string_view call) {
  if (status == cudaSuccess) [[likely]] {
    return;
  }
  static_cast<void>(cudaGetLastError());
  int device = -1;
  if (cudaGetDevice(&device) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
  }
  const Advice advice = advice_for(status);
  fail(advice.fault, "{} on {}: {} ({}); {}", call, device < 0 ? "no GPU" : fmt::format("GPU {}", device),
       cudaGetErrorString(status), cudaGetErrorName(status), advice.remedy);
}

}  // namespace dormer::cuda
