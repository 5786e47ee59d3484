#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/comm/communicator.hpp"
#include "dormer/data/sample_order.hpp"
#include "dormer/data/token_dataset.hpp"
#include "dormer/model/language_model.hpp"

/// `adapter.start: eva`: factors from what the frozen base's layers are given on the run's own data.
namespace dormer::train {

/// What one or more adapted layers are given: q, k and v of a block share one.
struct SharedInput {
  std::int64_t width = 0;
  std::int64_t rank = 0;             ///< the largest of its layers
  std::vector<std::size_t> sites{};  ///< the model's, in the order of the forward pass
};

/// Inputs that a rank of the run measures during one pass over the samples.
struct InputPass {
  int rank = 0;
  std::vector<std::size_t> inputs{};
  /// What their sums take, and at most what their decompositions, one after the other, take besides.
  [[nodiscard]] std::int64_t sum_bytes(std::span<const SharedInput> all) const;
  [[nodiscard]] std::int64_t working_bytes(std::span<const SharedInput> all) const;
};

/// Sums of a pass take at most this, unless those of a single input are larger.
inline constexpr std::int64_t kInputPassBytes = std::int64_t{256} << 20;

/// The distinct inputs of the adapters' layers, by a forward pass over this sample (or its shape).
[[nodiscard]] std::vector<SharedInput> shared_inputs(const model::LanguageModel& model, const data::TokenBatch& sample,
                                                     const adapter::AdapterSet& adapters);

/// Gives each input to one rank, the costliest first, each to the rank with least work so far, and a rank's inputs to
/// passes. Pure.
[[nodiscard]] std::vector<InputPass> plan_input_passes(std::span<const SharedInput> inputs, int ranks,
                                                       std::int64_t pass_bytes);

struct InputStart {
  const model::LanguageModel& model;
  const data::TokenDataset& data;
  const data::SampleOrder& order;
  std::int64_t samples = 0;  ///< the run's first, at most those of the data set
};

/// Writes A of every low-rank change: the directions in which the layer's inputs vary most over the samples, at the
/// positions that predict a counted target. Samples pass one by one and in order through whichever rank measures an
/// input, so the bits depend on neither ranks nor micro-batches. Throws a usage error where there are too few
/// positions, a numerical one for inputs that are not finite. All ranks call.
void start_from_inputs(comm::Communicator& communicator, const InputStart& start, adapter::AdapterSet& adapters);

}  // namespace dormer::train
