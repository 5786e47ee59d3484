// A module of another build than the program that loads it.
#include "dormer/device/cuda_module.hpp"

extern "C" const dormer::device::CudaModule* dormer_cuda_module() {
  static const dormer::device::CudaModule module{.build_id = "0.0.0-foreign"};
  return &module;
}
