#pragma once

#include <memory>

#include "dormer/comm/communicator.hpp"

namespace dormer::comm {

/// Wraps a communicator so that before each operation all ranks compare its number, name, element count, dtype and root
/// (for `exchange` also every message with its counterpart). A mismatch, the usual cause of a hang, becomes an error
/// on all ranks that names operation and ranks. Costs a small all-gather for each operation.
[[nodiscard]] std::unique_ptr<Communicator> checked(std::unique_ptr<Communicator> inner);

}  // namespace dormer::comm
