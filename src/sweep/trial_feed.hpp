#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "dormer/comm/communicator.hpp"
#include "dormer/sweep/worker.hpp"
#include "sweep/worker_file.hpp"

namespace dormer::sweep {

/// What a worker gets to do.
struct Claim {
  std::vector<Assignment> assignments;
  std::optional<WorkEnd> end;  ///< nothing more comes
};

/// What the ranks of one worker get from the sweep's journal: rank 0 asks, and all hear the same.
class TrialFeed {
 public:
  /// `store` is rank 0's, null elsewhere. All must outlive it.
  TrialFeed(Store* store, comm::Communicator& ranks, const WorkOptions& options);

  /// Trials so that the worker has `width` (rank 0's), where `active` are on their way. All ranks call. Throws on all
  /// what `check_inputs` found once none is on its way.
  [[nodiscard]] Claim claim(std::size_t active, std::size_t width);
  /// Appends rank 0's event; the others' are dropped. A journal that takes nothing for the moment (a full disk) is
  /// waited for, up to ten minutes.
  void append(const Event& event);
  /// Store::check_inputs, of rank 0. What it throws is the end of this worker's sweep, not of a trial.
  void check_inputs(const std::string& name, const Point& fingerprint);
  /// Whether somebody stopped the trial, as rank 0 knows.
  [[nodiscard]] bool asked_to_stop(std::int64_t trial);
  /// What rank 0 knows of the trial; null elsewhere, or where nothing is known.
  [[nodiscard]] const TrialRecord* find(std::int64_t trial) const;
  /// Waits a moment for other workers.
  void pause() const;

  [[nodiscard]] bool speaks() const { return store_ != nullptr; }
  /// Whether `check_inputs` has thrown, on rank 0.
  [[nodiscard]] bool refuses() const { return !refusal_.empty(); }

 private:
  [[nodiscard]] Claim claim_here(std::size_t active, std::size_t width, bool stop);

  Store* store_;
  comm::Communicator& ranks_;
  const WorkOptions& options_;
  std::optional<WorkerFile> own_;
  std::string refusal_;
  double asked_ = -1e9;   ///< when there was last less than was asked for
  double looked_ = -1e9;  ///< for stopped trials
};

}  // namespace dormer::sweep
