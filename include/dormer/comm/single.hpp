#pragma once

#include <memory>

#include "dormer/comm/communicator.hpp"

namespace dormer::comm {

/// The communicator of a program that runs alone: one rank, every operation a copy or nothing.
[[nodiscard]] std::unique_ptr<Communicator> single();

}  // namespace dormer::comm
