#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/comm/communicator.hpp"
#include "train/task.hpp"

namespace dormer::train {

struct ValidationRequest {
  const Task& task;
  const adapter::AdapterSet* adapters = nullptr;  ///< null: the base alone
  std::int64_t samples = 0;                       ///< the first of the data set, at most all
  std::int64_t micro = 1;                         ///< samples of one forward pass
  std::function<bool()> goes_on = {};             ///< asked before each of the own forward passes; empty: to the end
};

/// The mean loss per target over the request's samples. Ranks share the micro-batches; their sums are added in the
/// order of the samples, so the bits do not depend on the ranks. Nothing if some rank did not go on to its end. All
/// ranks call; errors are those of all.
[[nodiscard]] std::optional<double> validation_loss(comm::Communicator& communicator, const ValidationRequest& request);

}  // namespace dormer::train
