#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "dormer/train/run.hpp"
#include "train/loop.hpp"
#include "train/preparation.hpp"
#include "train/run_report.hpp"

namespace dormer::train {

/// One run on its way, alone or beside others: from its configuration to its result or its error.
class Lane {
 public:
  /// All ranks call, as for all that follows.
  Lane(RunConfig config, comm::Communicator& communicator, TrainOptions options, std::size_t number);
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  /// Everything before the first update. An error ends the lane, here as in the steps below; one that several ranks did
  /// not agree on is thrown.
  void begin();
  [[nodiscard]] bool active() const { return loop_ && !ended() && loop_->active(); }
  [[nodiscard]] std::optional<PackMember> begin_update();
  void end_update(const MemberOutcome& outcome);
  void finish();

  /// Adds what the lane's part of something shared took.
  void spend(double seconds) { seconds_ += seconds; }

  [[nodiscard]] std::size_t number() const { return number_; }
  [[nodiscard]] std::int64_t samples_per_update() const { return config_.batch.global; }
  [[nodiscard]] double seconds() const { return seconds_; }
  [[nodiscard]] bool ended() const { return result_.has_value() || error_ != nullptr; }
  [[nodiscard]] const std::optional<TrainResult>& result() const { return result_; }
  [[nodiscard]] const std::exception_ptr& error() const { return error_; }

 private:
  void attempt(const std::function<void()>& step);
  void release();

  const RunConfig config_;
  comm::Communicator& communicator_;
  const TrainOptions options_;
  const std::size_t number_;
  double seconds_ = 0.0;
  std::unique_ptr<Preparation> preparation_;
  std::unique_ptr<RunReport> report_;
  std::unique_ptr<Loop> loop_;
  std::optional<TrainResult> result_;
  std::exception_ptr error_;
  bool agreed_ = false;
};

/// Where lanes come from and go to. Answers are equal on all ranks.
class LaneFeed {
 public:
  virtual ~LaneFeed() = default;
  /// Lanes that begin now.
  [[nodiscard]] virtual std::vector<std::unique_ptr<Lane>> join(const PackTurn& turn) = 0;
  /// A lane that has ended and is dropped.
  virtual void ended(const Lane& lane) = 0;
};

/// Turns the lanes until none is left and none joins: in every turn the updates of those that fit together are one.
void run_lanes(LaneFeed& feed);

}  // namespace dormer::train
