#pragma once

#include <memory>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/comm/communicator.hpp"
#include "dormer/train/evaluate.hpp"
#include "train/image_preparation.hpp"
#include "train/task.hpp"

namespace dormer::train {

/// What an evaluation on images measures.
struct EvaluatedImages {
  std::unique_ptr<Task> task;
  std::unique_ptr<adapter::AdapterSet> adapters;  ///< null: the model alone
};

/// Reads the configuration's images, brings the cache up to those that are held out, and loads model and adapter. All
/// ranks call; errors are those of all: a usage error where no concept is held out.
[[nodiscard]] EvaluatedImages open_evaluated_images(comm::Communicator& communicator, const RunConfig& config,
                                                    const Placement& placement, const NumericChoice& numerics,
                                                    const EvaluateOptions& options);

}  // namespace dormer::train
