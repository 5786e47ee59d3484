#include "train/memory_plan.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

namespace dormer::train {

RankMemory memory_of_rank(const MemoryFacts& facts) {
  const PassingBytes& passing = facts.passing;
  RankMemory memory{.mapped = facts.gpu ? 0 : facts.mapped,
                    .base = facts.gpu ? facts.base : facts.base - facts.mapped,
                    .adapters = facts.adapters,
                    .gradients = facts.buffers.gradient,
                    .moments = facts.moments,
                    .activations = passing.activations,
                    .loss = passing.loss,
                    .buffers = facts.buffers.sums + facts.buffers.received,
                    .saving = facts.saving};
  const std::int64_t image = facts.gpu ? 0 : facts.image;
  const std::int64_t lasting = memory.adapters + memory.gradients + memory.moments + memory.buffers;
  const std::int64_t micro_batch = passing.activations + passing.loss;
  std::vector<std::pair<std::string_view, std::int64_t>> moments{
      {"micro-batch", lasting + image + micro_batch},
      {"validation", lasting + image + passing.validation},
      {"pictures", lasting + image + passing.pictures},
      {"norms", lasting + image + passing.norms},
      {"end", lasting + passing.report},
      {"start", facts.start},  // neither moments nor buffers yet
  };
  // Before the first update: what gradients are reduced in is not there yet.
  const std::int64_t inputs = facts.gpu ? 0 : lasting - memory.buffers + facts.inputs;
  if (!facts.gpu) {
    moments.emplace_back("saving", lasting + facts.saving);
    moments.emplace_back("inputs", inputs);
  }
  const auto most = std::max_element(moments.begin(), moments.end(),
                                     [](const auto& left, const auto& right) { return left.second < right.second; });
  memory.busiest = most->first;
  memory.peak = memory.base + most->second;
  const std::int64_t check = facts.gpu ? 0 : facts.check;
  const std::int64_t later =
      lasting + std::max({micro_batch, passing.validation, passing.pictures, passing.norms, passing.report, check});
  memory.tensors = std::max(memory.base + std::max({facts.start, inputs, later}), facts.encoding);
  if (facts.encoding > memory.peak) {  // neither the base nor adapters yet
    memory.busiest = "encoding";
    memory.peak = facts.encoding;
  }
  return memory;
}

std::int64_t resident_bytes(const RankMemory& memory, std::int64_t program) {
  constexpr double kKept = 1.15;  // of the peak, from runs of 0.2 to 1.1 GB of tensors
  return program + memory.mapped + static_cast<std::int64_t>(kKept * static_cast<double>(memory.peak));
}

std::vector<MachinePlan> plan_machines(const std::vector<RankPlan>& ranks, int ranks_per_machine) {
  std::vector<MachinePlan> machines;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    if (rank % static_cast<std::size_t>(ranks_per_machine) == 0) {
      machines.emplace_back();
    }
    MachinePlan& machine = machines.back();
    machine.ranks.push_back(static_cast<int>(rank));
    machine.own += ranks[rank].memory.peak;
    machine.mapped = ranks[rank].memory.mapped;
  }
  return machines;
}

RankMemory pack_memory(std::span<const RankMemory> trials) {
  RankMemory pack;
  for (const RankMemory& trial : trials) {
    const std::int64_t own_base = trial.base + trial.loss;
    pack.mapped = std::max(pack.mapped, trial.mapped);
    pack.base = std::max(pack.base, trial.base);
    pack.loss = std::max(pack.loss, trial.loss);
    pack.adapters += trial.adapters;
    pack.gradients += trial.gradients;
    pack.moments += trial.moments;
    pack.activations += trial.activations;
    pack.buffers += trial.buffers;
    pack.saving = std::max(pack.saving, trial.saving);  // one after the other
    pack.peak += std::max<std::int64_t>(trial.peak - own_base, 0);
    pack.tensors += std::max<std::int64_t>(trial.tensors - own_base, 0);
    pack.busiest = trial.busiest;
  }
  pack.peak += pack.base + pack.loss;
  pack.tensors += pack.base + pack.loss;
  return pack;
}

}  // namespace dormer::train
