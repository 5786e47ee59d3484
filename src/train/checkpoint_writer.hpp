#pragma once

#include <cstdint>
#include <future>
#include <optional>
#include <string>

#include "dormer/storage/checkpoint.hpp"
#include "dormer/train/run_config.hpp"
#include "train/agreement.hpp"
#include "train/fault_hooks.hpp"
#include "train/run_directory.hpp"

namespace dormer::train {

/// Puts rank 0's checkpoints on disk, one at a time, beside the training: another thread writes and flushes the files,
/// and the thread that owns this object commits them, so a checkpoint begins to exist between two updates and nowhere
/// else. Use from that one thread.
class CheckpointWriter {
 public:
  /// `lock` is the run directory's, and null on ranks that write nothing.
  CheckpointWriter(RunPaths paths, const RunLock* lock, const CheckpointSection& section, FaultHooks faults);
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;
  ~CheckpointWriter();

  /// Begins to write. Nothing else may be under way. Where `checkpoint.background` is false it returns when the files
  /// are on disk.
  void begin(storage::CheckpointImage image);
  [[nodiscard]] bool under_way() const { return staging_.valid(); }

  struct Outcome {
    std::int64_t step = 0;
    std::optional<Failure> failure;  ///< why the step was not saved; what was there before is as it was
  };
  /// Commits what is written, and retires what it supersedes. Nothing where nothing is under way or, unless it may
  /// `wait`, where writing is not over. Throws where another process owns the run directory by now.
  [[nodiscard]] std::optional<Outcome> settle(bool wait);

 private:
  RunPaths paths_;
  const RunLock* lock_;
  CheckpointSection section_;
  FaultHooks faults_;
  std::optional<storage::CheckpointImage> image_;  // of what is under way; the other thread reads it
  std::future<std::optional<Failure>> staging_;
};

}  // namespace dormer::train
