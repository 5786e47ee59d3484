#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dormer/train/run_config.hpp"

namespace dormer::train {

/// Where a run is planned for. Neither GPUs nor the machines need be there.
struct PlanTarget {
  int ranks = 1;
  std::optional<int> ranks_per_machine{};    ///< absent: all on one
  std::optional<std::int64_t> gpu_memory{};  ///< bytes of each rank's GPU; run.device: cuda plans for GPUs without it
};

/// What one rank holds, in bytes, in the memory that it computes in: the host's, or its GPU's. The parts but
/// `mapped` and `saving` are there at one time; `peak` is the most that there is at any.
struct RankMemory {
  std::int64_t mapped = 0;         ///< frozen weights that are the files' mapping: one copy for all ranks of a machine
  std::int64_t base = 0;           ///< frozen weights of its own: converted, or on a GPU
  std::int64_t adapters = 0;       ///< values, copies of them in the compute dtype, norms
  std::int64_t gradients = 0;      ///< the flat buffer that backward passes add to
  std::int64_t moments = 0;        ///< of the optimizer, for the rank's slice
  std::int64_t activations = 0;    ///< of one micro-batch
  std::int64_t loss = 0;           ///< chunks of logits
  std::int64_t buffers = 0;        ///< partial sums of the reduction, own and received
  std::int64_t packed_copies = 0;  ///< of frozen weights; this version multiplies with the weights as they are
  std::int64_t saving = 0;         ///< on the host while a checkpoint or an export is written, activations being gone
  std::int64_t peak = 0;           ///< without `mapped`; on a GPU also without `saving`
  std::int64_t tensors = 0;        ///< the part of it that LibTorch allocates
  std::string busiest{};           ///< when the peak is reached: "micro-batch", "saving", …
};

/// What the system will about show as the resident memory of a rank on a CPU: the program, the model's mapping, and the
/// peak with the blocks that the C library keeps between sizes, as measured (docs/plan.md). Pure.
[[nodiscard]] std::int64_t resident_bytes(const RankMemory& memory, std::int64_t program);

/// What one rank holds that trains these trials as a pack: the frozen base and the chunks of logits once, everything
/// else of each. Pure.
[[nodiscard]] RankMemory pack_memory(std::span<const RankMemory> trials);

/// What one rank of a run would do and hold.
struct RankPlan {
  std::int64_t micro_batches = 0;   ///< of every update
  std::int64_t state_elements = 0;  ///< of the flat space whose moments it holds
  std::int64_t bytes_sent = 0;      ///< in every update
  std::int64_t bytes_received = 0;  ///< in every update
  RankMemory memory{};
};

/// What the ranks of one machine hold on the host or on its GPUs, in bytes.
struct MachinePlan {
  std::vector<int> ranks{};
  std::int64_t own = 0;     ///< sum of the ranks' peaks
  std::int64_t mapped = 0;  ///< counted once
  [[nodiscard]] std::int64_t total() const { return own + mapped; }
};

/// Files of one kind that a finished run leaves.
struct FilePlan {
  std::string name{};      ///< below the run directory
  std::int64_t count = 0;  ///< files, or folders of files
  std::int64_t bytes = 0;  ///< of each
};

/// A change of the configuration, and what a rank would then hold.
struct ChangePlan {
  std::string change{};  ///< "run.recompute: true"
  std::int64_t peak = 0;
  bool fits = false;
};

/// Whether the ranks' GPUs are large enough.
struct GpuFit {
  std::int64_t available = 0;  ///< bytes of a GPU
  std::int64_t assumed = 0;    ///< for CUDA's context, its libraries and the allocator's fragments; not rehearsed
  std::int64_t needed = 0;     ///< by the rank that needs most, with `assumed`
  bool fits = false;
  std::vector<ChangePlan> changes{};  ///< where it does not fit: single changes, then all of them together
};

/// What a configuration would do, found without training: the data is opened and checked, of the model its description
/// and the headers of its files; its weights are not read.
struct RunPlan {
  std::string model{};  ///< "llama, 30 blocks, in …"
  std::string dtype{};  ///< of base weights and activations
  bool gpu = false;     ///< what the memory is planned for
  std::string products{};
  std::int64_t training_samples = 0;
  std::int64_t training_tokens = 0;  ///< of the data set; 0: it has none
  std::string data{};                ///< of images: how many of which sizes
  bool documents = false;            ///< rows hold several documents, kept apart
  std::int64_t total_steps = 0;
  std::int64_t warmup_steps = 0;
  double epochs = 0.0;             ///< of the whole run
  std::int64_t run_samples = 0;    ///< of the whole run
  std::int64_t micro_batches = 0;  ///< of an update
  std::int64_t leaves = 0;         ///< of the exact reduction's tree
  std::int64_t adapted_layers = 0;
  std::int64_t parameters = 0;     ///< trainable, without padding
  std::int64_t flat_elements = 0;  ///< with padding
  std::int64_t base_bytes = 0;     ///< every frozen number of the model, mapped or not
  std::vector<RankPlan> ranks{};
  std::vector<MachinePlan> machines{};
  std::vector<FilePlan> files{};
  std::optional<GpuFit> fit{};  ///< with `PlanTarget::gpu_memory`
  [[nodiscard]] std::int64_t disk_bytes() const;
};

/// Plans `config`. Throws what starting the run would throw about its files and numbers. Goes through one micro-batch
/// on shapes, so the process must not train at the same time; `tensor::configure_process` comes first.
[[nodiscard]] RunPlan plan_run(const RunConfig& config, const PlanTarget& target);

}  // namespace dormer::train
