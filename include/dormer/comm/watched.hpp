#pragma once

#include <memory>

#include "dormer/comm/communicator.hpp"
#include "dormer/core/heartbeat.hpp"

namespace dormer::comm {

/// Wraps a communicator and tells `heartbeat`, which must outlive it, of every operation: its number, name and bytes,
/// and whether it has returned. Several communicators of a process may share a heartbeat: their operations then are
/// numbered together.
[[nodiscard]] std::unique_ptr<Communicator> watched(std::unique_ptr<Communicator> inner, Heartbeat& heartbeat);

}  // namespace dormer::comm
