#pragma once

#include <functional>
#include <optional>

#include "dormer/comm/communicator.hpp"
#include "dormer/core/heartbeat.hpp"

namespace dormer::cli {

/// The rank of this process as the launcher's variables tell it; nothing where there is no launcher.
[[nodiscard]] std::optional<int> launched_rank();

/// Whether this process is the rank that speaks for all (rank 0, or alone), as far as the launcher's variables tell.
/// Serves before there is a communicator.
[[nodiscard]] bool speaks_for_all();

/// Runs `body` on the communicator of all ranks of this job and ends it in order. An error that all ranks agreed on is
/// told by rank 0; any other ends all ranks with its exit code. Returns the exit code.
/// `heartbeat`, where there is one, is told of every operation of the communicator.
[[nodiscard]] int run_on_ranks(const std::function<int(comm::Communicator&)>& body, Heartbeat* heartbeat = nullptr);

/// Writes the exception in flight to the log and returns its exit code. Call inside of a catch block only.
[[nodiscard]] int report_current_exception(bool silent = false);

}  // namespace dormer::cli
