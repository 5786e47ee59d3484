#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "dormer/train/run.hpp"
#include "train/loop.hpp"
#include "train/preparation.hpp"
#include "train/run_report.hpp"

namespace dormer::train {

/// One run on its way, alone or beside others: from its configuration to its result or its error.
class Lane {
 public:
  /// Configuration and options must outlive it. All ranks call, as for all that follows.
  Lane(const RunConfig& config, comm::Communicator& communicator, const TrainOptions& options, std::size_t number);

  /// Everything before the first update. An error ends the lane, here as in the steps below; one that several ranks did
  /// not agree on is thrown.
  void begin();
  [[nodiscard]] bool active() const { return loop_ && !ended() && loop_->active(); }
  [[nodiscard]] std::optional<PackMember> begin_update();
  void end_update(const MemberOutcome& outcome);
  void finish();

  [[nodiscard]] bool ended() const { return result_.has_value() || error_ != nullptr; }
  [[nodiscard]] const std::optional<TrainResult>& result() const { return result_; }
  [[nodiscard]] const std::exception_ptr& error() const { return error_; }

 private:
  void attempt(const std::function<void()>& step);
  void release();

  const RunConfig& config_;
  comm::Communicator& communicator_;
  const TrainOptions& options_;
  std::size_t number_;
  std::unique_ptr<Preparation> preparation_;
  std::unique_ptr<RunReport> report_;
  std::unique_ptr<Loop> loop_;
  std::optional<TrainResult> result_;
  std::exception_ptr error_;
  bool agreed_ = false;
};

/// Turns the lanes until all have ended: the updates of those that fit together are one.
void run_lanes(std::span<const std::unique_ptr<Lane>> lanes);

}  // namespace dormer::train
