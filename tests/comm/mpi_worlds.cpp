#include "comm/conformance.hpp"
#include "support/mpi_world.hpp"

namespace dormer::comm {

std::vector<World> worlds_of_this_program() {
  std::vector<World> worlds;
  add_decorated(worlds,
                {"mpi", [](const std::function<void(Communicator&)>& body) { body(dormer::testing::world()); }});
  return worlds;
}

}  // namespace dormer::comm
