#pragma once

#include <cstdint>

#include "dormer/parallel/plan.hpp"
#include "dormer/train/run_plan.hpp"
#include "train/rehearsed_trial.hpp"

namespace dormer::train {

/// What a rank's memory follows from. In bytes.
struct MemoryFacts {
  bool gpu = false;
  std::int64_t base = 0;    ///< every frozen number
  std::int64_t mapped = 0;  ///< what of it stays the files' mapping on a CPU
  std::int64_t adapters = 0;
  std::int64_t start = 0;     ///< at most while the adapters are built
  std::int64_t inputs = 0;    ///< on the host while `adapter.start: eva` measures inputs, a forward pass among them
  std::int64_t encoding = 0;  ///< at most before the frozen base is loaded, while other parts compute what is stored
  PassingBytes passing{};
  parallel::BufferBytes buffers{};
  std::int64_t moments = 0;  ///< of the rank's slice
  std::int64_t saving = 0;   ///< what this rank holds on the host while it writes files
  std::int64_t image = 0;    ///< of a checkpoint that is written, on the host, while training goes on
  std::int64_t check = 0;    ///< tensors on the host while it checks an export
};

/// Adds what is there at one time, and finds the time with most. Pure.
[[nodiscard]] RankMemory memory_of_rank(const MemoryFacts& facts);

/// The ranks of each machine, and what they hold together. Pure.
[[nodiscard]] std::vector<MachinePlan> plan_machines(const std::vector<RankPlan>& ranks, int ranks_per_machine);

}  // namespace dormer::train
