#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

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

struct ValidationLoss {
  double mean = 0.0;  ///< per target, over all samples
  /// The same of each of the task's groups that has any of the samples; empty where there is one group.
  std::vector<std::pair<std::string, double>> groups;
};

/// The mean loss over the request's samples. Ranks share the micro-batches (samples, where the task has groups); their
/// sums are added in the order of the samples, so the bits do not depend on the ranks. Nothing if some rank did not go
/// on to its end. All ranks call; errors are those of all.
[[nodiscard]] std::optional<ValidationLoss> validation_loss(comm::Communicator& communicator,
                                                            const ValidationRequest& request);

}  // namespace dormer::train
