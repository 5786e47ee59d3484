#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "dormer/comm/communicator.hpp"
#include "dormer/interop/adapter_format.hpp"
#include "dormer/train/run_config.hpp"
#include "train/run_directory.hpp"
#include "train/run_state.hpp"
#include "train/trial.hpp"

namespace dormer::train {

/// Throws a usage error, before anything is trained, where an export's consumer would not compute what this trial's
/// adapter will be.
void require_exports(const RunConfig& config, const Trial& trial, const interop::BaseFacts& base);

/// Folders of the configured exports, in their order: export/<consumer>, and export/<consumer>-<name> for further ones
/// of the same consumer. Pure.
[[nodiscard]] std::vector<std::filesystem::path> export_folders(const RunConfig& config, const RunPaths& paths);

/// What a finished run exports.
struct ExportPlan {
  std::int64_t step = 0;             ///< whose parameters: the best where they are kept, else the last
  std::vector<std::size_t> missing;  ///< indices of exports that are not there yet as made from that step
};

/// Rank 0 looks at checkpoints and at what was exported before; all ranks get its answer.
[[nodiscard]] ExportPlan agree_on_exports(comm::Communicator& communicator, const RunConfig& config,
                                          const RunPaths& paths, const RunState& state);

struct ExportRequest {
  const RunConfig& config;
  const RunPaths& paths;
  const Task& task;
  const Trial& trial;
  std::int64_t step = 0;  ///< that the parameters are of
};

/// Writes the exports `indices` on rank 0, each atomically and read back, and records their step. All ranks call;
/// errors are those of all.
void write_exports(comm::Communicator& communicator, const ExportRequest& request,
                   const std::vector<std::size_t>& indices);

}  // namespace dormer::train
