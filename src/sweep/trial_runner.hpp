#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "dormer/train/run.hpp"
#include "dormer/train/shared_bases.hpp"
#include "sweep/pack_width.hpp"
#include "sweep/trial_feed.hpp"

namespace dormer::sweep {

/// Trains what it is fed with the ranks of one worker, as a pack over one frozen model, which stays loaded from one
/// trial to the next. Its files are the trials' folders.
class TrialRunner final : private train::PackSource {
 public:
  /// All must outlive it. `memory`: bytes that this rank may take.
  TrialRunner(TrialFeed& feed, const SweepConfig& config, comm::Communicator& ranks, Heartbeat* heartbeat,
              std::int64_t memory);

  /// Trains until there is nothing to train for the moment. All ranks call.
  /// Returns how the worker's sweep ends, or nothing: others must come to something first.
  [[nodiscard]] std::optional<WorkEnd> run();

 private:
  struct Running {
    Assignment assignment;
    train::RunConfig config;
  };

  [[nodiscard]] std::vector<train::PackedRun> join(const train::PackTurn& turn) override;
  [[nodiscard]] bool goes_on(std::size_t lane) override;
  void check_inputs(std::size_t lane, const std::map<std::string, std::string>& fingerprint) override;
  void ended(std::size_t lane, const train::LaneOutcome& outcome) override;

  void train(std::vector<Assignment> assignments);
  [[nodiscard]] Event event_of(const Running& one, const train::LaneOutcome& outcome);
  /// What `sweep.evaluate` says of the newest checkpoint, exported for the file's first consumer, or for PEFT. Rank 0's
  /// value; all ranks call.
  [[nodiscard]] double evaluated(const train::RunConfig& config);
  [[nodiscard]] bool fits(std::size_t width) const;

  TrialFeed& feed_;
  const SweepConfig& config_;
  SweepPaths paths_;
  comm::Communicator& ranks_;
  Heartbeat* heartbeat_;
  std::int64_t memory_;
  PackWidth width_;
  train::SharedBases bases_;
  std::vector<Assignment> begin_;  ///< what joins next
  std::map<std::size_t, Running> lanes_;
  std::size_t next_lane_ = 0;
  std::size_t together_ = 0;         ///< trials that were on their way in the last turn
  std::deque<Assignment> suspects_;  ///< that failed in company, and are tried alone
  bool alone_ = false;
};

}  // namespace dormer::sweep
