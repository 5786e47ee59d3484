#include "dormer/device/libraries.hpp"

#include "dormer/core/error.hpp"

namespace dormer::device {
namespace {

std::string cuda_version(int code) {
  return fmt::format("{}.{}", code / 1'000, code % 1'000 / 10);
}

std::string nccl_version(int code) {
  return fmt::format("{}.{}.{}", code / 10'000, code / 100 % 100, code % 100);
}

/// `minor` is what one minor version counts in the code, `major` what a major one does.
bool serves(int loaded, int built, int major, int minor) {
  return loaded / major == built / major && loaded / minor >= built / minor;
}

}  // namespace

void require_libraries(const LibraryVersions& versions) {
  require(serves(versions.runtime_loaded, versions.runtime_built, 1'000, 10), Fault::kUsage,
          "the CUDA module was built with CUDA {}, but the CUDA runtime of this process is {}; take other versions out "
          "of LD_LIBRARY_PATH and LD_PRELOAD, or build dormer again here",
          cuda_version(versions.runtime_built), cuda_version(versions.runtime_loaded));
  require(serves(versions.nccl_loaded, versions.nccl_built, 10'000, 100), Fault::kUsage,
          "the CUDA module was built with NCCL {}, but the NCCL of this process is {}; take other versions out of "
          "LD_LIBRARY_PATH and LD_PRELOAD, or build dormer again here",
          nccl_version(versions.nccl_built), nccl_version(versions.nccl_loaded));
}

std::string describe(const LibraryVersions& versions) {
  return fmt::format("CUDA {}, driver interface {}, NCCL {}", cuda_version(versions.runtime_loaded),
                     versions.driver_interface == 0 ? "none" : cuda_version(versions.driver_interface),
                     nccl_version(versions.nccl_loaded));
}

}  // namespace dormer::device
