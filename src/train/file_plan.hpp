#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/train/run_config.hpp"
#include "dormer/train/run_plan.hpp"

namespace dormer::train {

/// Name and shape of an array of the optimizer's that every rank holds whole.
struct SharedShape {
  std::string name;
  std::vector<std::int64_t> shape;
};

/// What the files of a run follow from.
struct FileFacts {
  const RunConfig& config;
  const adapter::AdapterSet& adapters;  ///< shapes do
  const std::filesystem::path& model_folder;
  std::vector<std::string> state_arrays{};  ///< names of the optimizer's, one of each for every parameter
  std::vector<SharedShape> shared_arrays{};
  std::int64_t total_steps = 0;
  std::int64_t samples = 0;  ///< of the training set
};

/// What a finished run leaves, and what rank 0 holds on the host while it writes.
struct FilesOfRun {
  std::vector<FilePlan> files{};
  std::int64_t checkpoint_shard = 0;  ///< bytes: an image of it is built in memory
  std::int64_t largest_export = 0;    ///< bytes of arrays
};

[[nodiscard]] FilesOfRun plan_files(const FileFacts& facts);

}  // namespace dormer::train
