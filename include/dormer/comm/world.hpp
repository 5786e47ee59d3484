#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "dormer/comm/communicator.hpp"

namespace dormer::comm {

using Environment = std::map<std::string, std::string>;

/// How this process was started, as the launcher's variables tell it.
struct Launch {
  bool uses_mpi = false;
  std::int64_t expected_size = 1;  ///< ranks that the launcher says there are; 0 where it does not say
  std::string launcher;            ///< "mpirun", "srun", …; empty for a program started by hand
};

/// Decides between one rank and MPI. A launcher that started one process only needs no MPI. Variables that make no
/// sense are usage errors, and so is a Slurm step of several tasks that do not know of each other.
[[nodiscard]] Launch detect_launch(const Environment& environment);

/// Throws a usage error where a Slurm job was given several tasks and no launcher started this process: a batch script
/// that forgets mpirun would train on one rank and pay for all.
void refuse_lone_rank(const Environment& environment);

/// The variables of this process.
[[nodiscard]] Environment current_environment();

/// Messages of more elements than this go in pieces: MPI counts with int. Smaller values are for tests.
struct MpiOptions {
  std::int64_t piece_elements = std::int64_t{1} << 30;
};

/// The communicator of all ranks of this job: alone, or through the MPI module (`libdormer_mpi.so` beside
/// `libdormer.so`, or the file that DORMER_MPI_MODULE names). Usage errors name the remedy where the launcher and MPI
/// disagree on the number of ranks, or where the module is missing or of another build.
[[nodiscard]] std::unique_ptr<Communicator> make_world(const MpiOptions& options = {});

}  // namespace dormer::comm
