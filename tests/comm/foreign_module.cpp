// A module of another build than the program that loads it.
#include "dormer/comm/mpi_module.hpp"

extern "C" const dormer::comm::MpiModule* dormer_mpi_module() {
  static const dormer::comm::MpiModule module{.build_id = "0.0.0-foreign", .create = nullptr};
  return &module;
}
