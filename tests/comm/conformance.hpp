#pragma once

#include <functional>
#include <string>
#include <vector>

#include "dormer/comm/communicator.hpp"

namespace dormer::comm {

/// Some ranks that run a body, once per rank.
struct World {
  std::string name;
  std::function<void(const std::function<void(Communicator&)>&)> run;
  bool reduces_16_bits = true;  ///< NCCL has no arithmetic for integers of 16 bits
  bool has_parts = true;        ///< it is the launcher's ranks that are split
};

/// What this test program has: one program runs the suite in its own process, another one under mpirun.
[[nodiscard]] std::vector<World> worlds_of_this_program();

/// The bare world, and the world in both decorators in both orders.
void add_decorated(std::vector<World>& worlds, const World& bare);

}  // namespace dormer::comm
