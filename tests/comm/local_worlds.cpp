#include <fmt/format.h>

#include "comm/conformance.hpp"
#include "dormer/comm/single.hpp"
#include "dormer/comm/threads.hpp"

namespace dormer::comm {

std::vector<World> worlds_of_this_program() {
  std::vector<World> worlds;
  add_decorated(worlds, {"single", [](const std::function<void(Communicator&)>& body) { body(*single()); }});
  for (const int ranks : {1, 2, 3, 4}) {
    add_decorated(worlds, {fmt::format("threads_{}", ranks),
                           [ranks](const std::function<void(Communicator&)>& body) { ThreadWorld{ranks}.run(body); }});
  }
  return worlds;
}

}  // namespace dormer::comm
