#pragma once

#include <string>

namespace dormer::device {

/// What the CUDA module was built with and what this process has loaded; numbers as CUDA (13000) and NCCL (22809) code
/// them. Several copies of both libraries may lie on a machine under one name, and the first that is loaded serves all.
struct LibraryVersions {
  int runtime_built = 0;
  int runtime_loaded = 0;
  int nccl_built = 0;
  int nccl_loaded = 0;
  int driver_interface = 0;  ///< the newest CUDA that the driver serves; 0: no driver
};

/// Throws a usage error where a loaded library is older than the one that the module was built with, or of another
/// major version. Patch levels do not matter. Pure.
void require_libraries(const LibraryVersions& versions);

/// "CUDA 13.0, driver interface 13.0, NCCL 2.28.9". Pure.
[[nodiscard]] std::string describe(const LibraryVersions& versions);

}  // namespace dormer::device
