#include "train/checkpoint_writer.hpp"

#include <chrono>
#include <utility>

#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "train/checkpointing.hpp"

namespace dormer::train {

CheckpointWriter::CheckpointWriter(RunPaths paths, const RunLock* lock, const CheckpointSection& section,
                                   FaultHooks faults)
    : paths_(std::move(paths)), lock_(lock), section_(section), faults_(std::move(faults)) {}

// The thread reads members of this object, so they must not go before it has ended.
CheckpointWriter::~CheckpointWriter() {
  if (staging_.valid()) {
    staging_.wait();
  }
}

void CheckpointWriter::begin(storage::CheckpointImage image) {
  invariant(!under_way(), "one checkpoint is written at a time");
  image_ = std::move(image);
  const auto stage = [this] {
    return caught([this] {
      storage::stage_checkpoint(paths_.checkpoints(), *image_,
                                [this](storage::CommitPoint point) { faults_.reach(point, image_->step); });
    });
  };
  staging_ = std::async(section_.background ? std::launch::async : std::launch::deferred, stage);
  if (!section_.background) {
    staging_.wait();
  }
}

std::optional<CheckpointWriter::Outcome> CheckpointWriter::settle(bool wait) {
  if (!under_way() || (!wait && staging_.wait_for(std::chrono::seconds(0)) == std::future_status::timeout)) {
    return std::nullopt;
  }
  Outcome outcome{.step = image_->step, .failure = staging_.get()};
  image_.reset();
  if (!outcome.failure) {
    lock_->require_ownership();
    outcome.failure = caught([&] {
      storage::commit_checkpoint(paths_.checkpoints(), outcome.step,
                                 [&](storage::CommitPoint point) { faults_.reach(point, outcome.step); });
    });
  }
  if (!outcome.failure) {
    if (const std::optional<Failure> failure = caught([&] { retire_superseded(paths_, section_.keep); })) {
      log::warn("{}", failure->message);  // the step is saved; what it supersedes goes with the next one
    }
  }
  return outcome;
}

}  // namespace dormer::train
