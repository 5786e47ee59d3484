#pragma once

#include <atomic>
#include <cstdint>

namespace dormer::testing {

/// What a process did with its simulated GPU.
struct SimulationCounts {
  std::atomic<std::int64_t> copies_to_host = 0;  ///< asked for by the program: each waits for the device
  std::atomic<std::int64_t> operations = 0;      ///< of the communicator of device memory
  std::atomic<std::int64_t> from_backward = 0;   ///< of those, by a thread that did not make the communicator
};

/// Name and type of the module's function that returns them.
inline constexpr const char* kSimulationCountsSymbol = "dormer_simulation_counts";
using SimulationCountsFunction = SimulationCounts* (*)();

}  // namespace dormer::testing

extern "C" dormer::testing::SimulationCounts* dormer_simulation_counts();
