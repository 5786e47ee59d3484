#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "dormer/train/run_config.hpp"

namespace dormer::train {

/// What cadences are measured against; equal on all ranks.
struct Clock {
  std::int64_t step = 0;      ///< updates done
  std::int64_t position = 0;  ///< samples used
  double seconds = 0.0;       ///< since this process started the run
};

/// Whether something of this cadence, last done at `last`, is due at `now`, one update after it was last asked. Steps
/// and epochs count from the start of the run, not from the last time, so a resumed run keeps its rhythm. Pure.
[[nodiscard]] bool is_due(const config::Cadence& cadence, const Clock& now, const Clock& last,
                          std::int64_t global_batch, std::int64_t samples);

/// What the loop knows after an update.
struct LoopFacts {
  Clock now;
  Clock last_validation;
  Clock last_checkpoint;
  Clock last_samples;
  std::vector<Clock> last_exports;
  std::int64_t total_steps = 0;
  std::int64_t global_batch = 1;
  std::int64_t samples = 1;  ///< of the training set
  bool has_validation = false;
  bool stop_requested = false;            ///< of any rank
  std::optional<double> seconds_allowed;  ///< this process must have ended by then
  double seconds_per_update = 0.0;        ///< the slowest so far
  std::optional<std::int64_t> until;      ///< updates after which the run pauses
  bool dropped = false;                   ///< it shall pause now
};

/// What happens after an update, in this order.
struct NextActions {
  bool validate = false;
  bool validation_pending = false;  ///< due, but a stop comes first: the next life measures
  bool sample = false;              ///< make pictures
  bool checkpoint = false;
  std::vector<std::size_t> exports;  ///< indices into the configuration's list
  bool finished = false;             ///< all updates are done
  bool stop = false;                 ///< save and end with "requeue me"
  bool pause = false;                ///< measure, save and end, to be gone on with
  bool operator==(const NextActions&) const = default;
};

/// Decides after every update. The last update validates, saves and exports everything; a stop saves; a pause
/// measures and saves. Pure.
[[nodiscard]] NextActions decide(const RunConfig& config, const LoopFacts& facts);

/// Updates of the whole run: `run.steps`, or `run.epochs` rounded up. Pure.
[[nodiscard]] std::int64_t total_steps(const RunSection& run, std::int64_t samples, std::int64_t global_batch);

/// Updates of a run, and those that its schedule stretches over.
struct RunLength {
  std::int64_t total = 0;
  std::int64_t schedule_total = 0;
};

/// The schedule's total: that of the run; after a resume with the old length, or with more updates and
/// `schedule.extend: keep`, the stored one. Pure.
[[nodiscard]] std::int64_t schedule_total(const ScheduleSection& schedule, std::int64_t total,
                                          const std::optional<RunLength>& stored);

/// Seconds from now that the run may take: `run.time_limit`, where "auto" is what is left of a Slurm job (from
/// SLURM_JOB_END_TIME) and nothing elsewhere. Pure: `environment` and `unix_time` are given.
[[nodiscard]] std::optional<double> seconds_allowed(const config::Duration& limit,
                                                    const std::map<std::string, std::string>& environment,
                                                    double unix_time);

/// A rank that the others wait for.
struct Straggler {
  int rank = 0;
  double ratio = 1.0;  ///< its pace to the usual one
  bool operator==(const Straggler&) const = default;
};

/// The slowest rank where it takes at least half as long again for a micro-batch as the median rank, and so keeps the
/// others waiting for a second or more in an update of `micro_batches` of its own. Pure.
[[nodiscard]] std::optional<Straggler> find_straggler(const std::vector<double>& paces, double micro_batches);

/// How the best validation so far stands.
struct BestValidation {
  std::optional<double> loss;
  std::int64_t step = 0;
  std::int64_t without_improvement = 0;  ///< validations since
};

/// Takes a new validation loss into account; returns whether it is the best so far.
bool record_validation(BestValidation& best, double loss, std::int64_t step);

/// One checkpoint as retention sees it.
struct StoredCheckpoint {
  std::int64_t step = 0;
  std::optional<double> validation_loss;
};

/// Steps of the `count` checkpoints with the lowest validation loss: retention spares them. Pure.
[[nodiscard]] std::vector<std::int64_t> best_steps(std::vector<StoredCheckpoint> stored, std::int64_t count);

}  // namespace dormer::train
