#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/comm/communicator.hpp"
#include "dormer/parallel/reducer.hpp"

namespace dormer::train {

struct UpdateInputs;
struct UpdateReport;
class Trial;

/// What one update did, on this rank or (flat buffers) on all.
struct UpdateTrace {
  std::vector<double> own_losses;                         ///< of this rank's micro-batches
  std::function<void()> backward_ended;                   ///< called after every micro-batch, where it is set
  at::Tensor before;                                      ///< flat, as the others on the trial's device
  at::Tensor gradient;                                    ///< flat, the whole sum before clipping
  at::Tensor after;                                       ///< flat
  std::vector<std::pair<std::string, at::Tensor>> norms;  ///< of decomposed sites
};

void record_before(UpdateTrace& trace, const adapter::AdapterSet& adapters);
/// Gathers the slices of all ranks.
void record_gradient(UpdateTrace& trace, const parallel::Links& links, const parallel::ReductionPlan& plan,
                     std::span<const float> own);
void record_after(UpdateTrace& trace, const adapter::AdapterSet& adapters);

/// Everything that a trace file tells.
struct TraceContents {
  const UpdateTrace& trace;
  const UpdateInputs& inputs;
  const UpdateReport& report;
  const Trial& trial;
};

/// Gathers the losses and writes the file of docs/trace.md on rank 0. All ranks call.
void write_trace(comm::Communicator& communicator, const std::filesystem::path& file, const TraceContents& contents);

/// The name of a parameter in adapter files: "….lora_A" is "….lora_A.weight", a magnitude "….lora_magnitude_vector"; a
/// whole weight keeps its name.
[[nodiscard]] std::string exchange_name(const tensor::ParameterEntry& entry);

}  // namespace dormer::train
