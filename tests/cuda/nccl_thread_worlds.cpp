// The conformance suite of tests/comm over the NCCL communicator, whose NCCL is the one of nccl_on_threads.cpp.
#include <cstring>

#include <fmt/format.h>

#include "comm/conformance.hpp"
#include "comm/staged_communicator.hpp"
#include "cuda/nccl_communicator.hpp"
#include "cuda/nccl_on_threads.hpp"
#include "dormer/comm/threads.hpp"

namespace dormer::comm {
namespace {

Memory heap() {
  const auto copy = [](void* to, const void* from, std::size_t bytes) {
    if (bytes > 0) {
      std::memcpy(to, from, bytes);
    }
  };
  return {.allocate = [](std::size_t bytes) -> std::shared_ptr<void> {
            return std::shared_ptr<std::byte[]>(new std::byte[bytes + 1]);
          },
          .copy_in = copy,
          .copy_out = copy};
}

void run_on(int ranks, const std::function<void(Communicator&)>& body) {
  ThreadWorld{ranks}.run([&](Communicator& rank) {
    testing::nccl_thread() = {.ranks = &rank, .faults = {}};
    const auto communicator = staged(cuda::make_nccl_communicator(rank, {.device = 0, .seconds_wait = 60}), heap());
    body(*communicator);
    communicator->finalize();
  });
}

}  // namespace

std::vector<World> worlds_of_this_program() {
  std::vector<World> worlds;
  for (const int ranks : {1, 2, 3, 4}) {
    add_decorated(worlds, {fmt::format("nccl_on_threads_{}", ranks),
                           [ranks](const std::function<void(Communicator&)>& body) { run_on(ranks, body); },
                           /*reduces_16_bits=*/false, /*has_parts=*/false});
  }
  return worlds;
}

}  // namespace dormer::comm
