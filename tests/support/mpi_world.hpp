#pragma once

#include "dormer/comm/communicator.hpp"

namespace dormer::testing {

/// The ranks of this test program: those that mpirun started, or one. Of programs that link `dormer_mpi_test_main`.
[[nodiscard]] comm::Communicator& world();

}  // namespace dormer::testing
