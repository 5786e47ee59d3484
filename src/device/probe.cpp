#include "dormer/device/probe.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

#include <dlfcn.h>

#include "dormer/core/error.hpp"
#include "dormer/device/choice.hpp"
#include "dormer/device/cuda_module.hpp"

namespace dormer::device {
namespace {

constexpr int kDeviceFiles = 64;

bool has_device_files() {
  std::error_code ignored;
  for (int index = 0; index < kDeviceFiles; ++index) {
    if (std::filesystem::exists(fmt::format("/dev/nvidia{}", index), ignored)) {
      return true;
    }
  }
  return false;
}

std::string loaded_driver() {
  std::ifstream file("/proc/driver/nvidia/version");
  return driver_version(std::string(std::istreambuf_iterator<char>(file), {}));
}

/// Somebody wants a certain module asked.
bool names_a_module() {
  return std::getenv("DORMER_CUDA_MODULE") != nullptr;
}

/// The driver's library, which is there without device files where the machine is a guest.
bool has_driver_library() {
  return dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL) != nullptr;
}

}  // namespace

GpuProbe probe_gpus() {
  GpuProbe probe{
      .device_files = has_device_files(), .driver = loaded_driver(), .module_problem = {}, .versions = {}, .gpus = {}};
  if (!probe.device_files && probe.driver.empty() && !has_driver_library() && !names_a_module()) {
    return probe;
  }
  try {
    const CudaModule& module = load_cuda_module();
    probe.versions = describe(module.libraries());
    probe.gpus = module.gpus();
  } catch (const Error& error) {
    probe.module_problem = error.what();
  }
  return probe;
}

}  // namespace dormer::device
