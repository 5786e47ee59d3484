#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dormer/comm/communicator.hpp"
#include "dormer/parallel/plan.hpp"
#include "dormer/storage/checkpoint.hpp"
#include "train/run_directory.hpp"
#include "train/run_state.hpp"
#include "train/trial.hpp"

namespace dormer::train {

/// What a run goes on from.
struct ResumePoint {
  std::filesystem::path folder;
  RunState state;
};

/// The newest checkpoint that is whole. Rank 0 verifies; bad ones are set aside with a warning. Nothing where there is
/// none yet; an input error where there were some and all are bad, so that no run starts over in silence. All ranks
/// call.
[[nodiscard]] std::optional<ResumePoint> find_resume_point(comm::Communicator& communicator, const RunPaths& paths);

/// Removes what `keep` does not spare, as every save does. Rank 0 calls, under the run's lock.
void retire_superseded(const RunPaths& paths, const KeepSection& keep);

/// Fills a trial from the arrays of a checkpoint, whatever number of ranks wrote it: every rank reads, and keeps its
/// slice of the moments. Input errors name arrays that are missing or of another shape. All ranks call.
void restore(comm::Communicator& communicator, const ResumePoint& point, Trial& trial);

/// Gives all ranks the factors that rank 0 took from frozen weights (`adapter.start`), and what is counted from them.
/// Does nothing for other starts. All ranks call.
void share_start(comm::Communicator& communicator, Trial& trial);

/// The folder of the checkpoint of `step`, if there is one.
[[nodiscard]] std::optional<std::filesystem::path> checkpoint_of(const RunPaths& paths, std::int64_t step);

/// The parameters alone, as another checkpoint of the run has them.
void restore_parameters(comm::Communicator& communicator, const std::filesystem::path& folder, Trial& trial);

/// What a checkpoint of this moment holds: canonical arrays without padding (parameters/…, moments/first/…,
/// moments/second/…, starts/… where changes are counted from factors of frozen weights), gathered to rank 0; nothing on
/// the others. Throws the same error on all ranks, which all call: a numerical one for values that are not finite.
[[nodiscard]] std::optional<storage::CheckpointImage> image_of(comm::Communicator& communicator, const RunState& state,
                                                               Trial& trial);

}  // namespace dormer::train
