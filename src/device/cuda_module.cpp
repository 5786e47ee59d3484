#include "dormer/device/cuda_module.hpp"

#include <cstdlib>
#include <filesystem>
#include <string_view>

#include <dlfcn.h>

#include "dormer/core/error.hpp"
#include "dormer/tensor/device_kernels.hpp"

namespace dormer::device {
namespace {

std::string last_loader_error() {
  const char* text = dlerror();
  return text != nullptr ? text : "no reason given";
}

/// The module lies beside the library that holds this function.
std::filesystem::path module_path() {
  if (const char* named = std::getenv("DORMER_CUDA_MODULE"); named != nullptr) {
    return named;
  }
  Dl_info info{};
  const bool known = dladdr(reinterpret_cast<const void*>(&cuda_build_id), &info) != 0 && info.dli_fname != nullptr;
  invariant(known, "the dynamic loader does not know where libdormer.so is");
  std::error_code ignored;
  const std::filesystem::path library = std::filesystem::canonical(info.dli_fname, ignored);
  return (ignored ? std::filesystem::path(info.dli_fname) : library).parent_path() / "libdormer_cuda.so";
}

/// LibTorch registers its GPU half while it is loaded. It comes first, so that its own CUDA runtime and NCCL are those
/// of the process: a toolkit's libraries of the same names, which the module was linked with, are then not opened.
void load_torch_cuda() {
  require(dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) != nullptr, Fault::kUsage,
          "LibTorch's GPU half cannot be loaded ({}); install a torch wheel with CUDA 13, or set run.device: cpu",
          last_loader_error());
}

}  // namespace

const char* cuda_build_id() {
  return DORMER_CUDA_BUILD_ID;
}

const CudaModule& load_cuda_module() {
  const std::filesystem::path path = module_path();
  std::error_code ignored;
  require(std::filesystem::exists(path, ignored), Fault::kUsage,
          "there is no CUDA module {}: build where a CUDA toolkit is found, name the module in DORMER_CUDA_MODULE, or "
          "set run.device: cpu",
          path.string());
  load_torch_cuda();
  // Never closed: CUDA leaves threads and exit handlers behind.
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  require(handle != nullptr, Fault::kUsage,
          "the CUDA module {} cannot be loaded ({}); build it again on this machine, or set run.device: cpu",
          path.string(), handle == nullptr ? last_loader_error() : "");
  void* symbol = dlsym(handle, kCudaModuleSymbol);
  require(symbol != nullptr, Fault::kUsage,
          "{} is no CUDA module of dormer ({}); name the right one in DORMER_CUDA_MODULE", path.string(),
          symbol == nullptr ? last_loader_error() : "");
  const CudaModule* module = reinterpret_cast<CudaModuleFunction>(symbol)();
  require(std::string_view(module->build_id) == cuda_build_id(), Fault::kUsage,
          "the CUDA module {} is of build {}, this program of build {}; build both from the same source", path.string(),
          module->build_id, cuda_build_id());
  require_libraries(module->libraries());
  tensor::register_gpu_kernels(module->kernels());
  return *module;
}

}  // namespace dormer::device
