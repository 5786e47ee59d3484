#pragma once

#include <chrono>

namespace dormer::train {

/// Ends the mpirun that started this process if it is still there after `patience`; returns at once. An mpirun that
/// cannot reach its daemon on another host waits for it for ever, whatever its own ranks' exit codes are. Its
/// connections to other hosts are cut, upon which it ends with those codes; where that is not permitted, or does not
/// help within ten seconds, SIGKILL ends it. Does nothing where another program started this one (a daemon of mpirun's,
/// Slurm's, a shell).
void end_stuck_launcher(std::chrono::seconds patience);

}  // namespace dormer::train
