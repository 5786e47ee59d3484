#pragma once

#include <memory>

#include "dormer/comm/communicator.hpp"
#include "dormer/comm/world.hpp"

namespace dormer::comm {

/// What the MPI module offers. The module is a file of its own, so that the program starts without MPI and a site can
/// build it against its own.
struct MpiModule {
  const char* build_id;  ///< must equal `mpi_build_id()`
  /// Initializes MPI and returns the communicator of all ranks; once per process.
  std::unique_ptr<Communicator> (*create)(const MpiOptions& options);
};

/// Name and type of the module's one exported function.
inline constexpr const char* kMpiModuleSymbol = "dormer_mpi_module";
using MpiModuleFunction = const MpiModule* (*)();

/// The version and a hash of the headers that program and module share.
[[nodiscard]] const char* mpi_build_id();

}  // namespace dormer::comm
