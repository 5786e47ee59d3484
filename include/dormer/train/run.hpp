#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dormer/comm/communicator.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/heartbeat.hpp"
#include "dormer/train/run_config.hpp"

namespace dormer::train {

/// Where a run stands after an update (or, with `step` 0, after the first validation).
struct Progress {
  std::int64_t step = 0;   ///< updates done
  std::int64_t total = 0;  ///< updates of the run
  double loss = 0.0;       ///< mean over the update's targets, before the update
  double learning_rate = 0.0;
  double gradient_norm = 0.0;  ///< before clipping
  double tokens_per_second = 0.0;
  double samples_per_second = 0.0;  ///< in place of tokens where samples have none
  std::optional<double> validation_loss;
  double seconds_left = 0.0;  ///< an estimate
  std::size_t lane = 0;       ///< of a pack
};

/// Updates, counted from 1; none by default.
struct UpdateRange {
  std::int64_t first = 1;
  std::int64_t last = 0;
  [[nodiscard]] bool contains(std::int64_t update) const { return first <= update && update <= last; }
};

class SharedBases;

struct TrainOptions {
  /// Updates of which `trace/update-000000001.safetensors`, … are written (docs/trace.md).
  UpdateRange traced{};
  /// Called on rank 0 after every update.
  std::function<void(const Progress&)> on_progress{};
  /// Is told what this process does, for a watchdog; null: nobody watches. Must outlive the run.
  Heartbeat* heartbeat = nullptr;
  /// The run measures, saves and ends when this many updates are done, to be gone on with later; its schedule is that
  /// of all its updates.
  std::optional<std::int64_t> until{};
  /// Metrics and checkpoints alone: no log, TensorBoard, report, effective configuration, and no measurement before the
  /// first update; pictures at its end alone. For a trial of many.
  bool bare = false;
  /// Makes the pictures of `samples`.
  bool pictures = true;
  /// Frozen models and data sets that are loaded already, and where those that are not are kept; null: none are.
  SharedBases* bases = nullptr;
  /// Asked between updates; a lane (`train_pack`) that shall not go on saves and ends as at `until`. Empty: all go on.
  std::function<bool(std::size_t lane)> goes_on{};
  /// PackSource::check_inputs. Empty: nobody looks.
  std::function<void(const std::map<std::string, std::string>& fingerprint)> check_inputs{};
};

enum class Outcome : std::uint8_t {
  kFinished,         ///< all updates are done and exported
  kSavedForRequeue,  ///< asked to stop or out of time: saved, exit code 85
  kPaused            ///< `TrainOptions::until` is reached: measured and saved
};

/// What a run was; equal on all ranks but for `state_bytes`.
struct TrainResult {
  Outcome outcome = Outcome::kFinished;
  std::int64_t step = 0;                        ///< updates done
  std::int64_t first_step = 0;                  ///< updates that were done before this process began
  std::optional<double> loss;                   ///< of the last update
  std::optional<double> first_validation_loss;  ///< before the first update
  std::optional<double> last_validation_loss;
  std::optional<double> best_validation_loss;
  std::vector<std::filesystem::path> exports;  ///< folders or files that are there at the end
  std::int64_t trainable_parameters = 0;
  std::size_t state_bytes = 0;  ///< of the optimizer, in this process
};

/// Runs `config` on the ranks of `communicator`: begins, or goes on from the newest good checkpoint of the run
/// directory. All ranks call it with equal arguments. Throws one error on every rank for what goes wrong; parameters
/// and checkpoints then are as after the last good update.
TrainResult train(const RunConfig& config, comm::Communicator& communicator, const TrainOptions& options = {});

/// What came of one run of a pack.
struct LaneOutcome {
  std::optional<TrainResult> result;  ///< nothing: it failed
  Fault fault = Fault::kBug;          ///< of a failure
  std::string message;
  double seconds = 0.0;  ///< that it took: its own, and its part of those that it shared. Of this rank's clock
};

/// A run that joins a pack, and where it pauses (`TrainOptions::until`).
struct PackedRun {
  RunConfig config;
  std::optional<std::int64_t> until{};
};

/// One turn of a pack: an update of each run that is on its way.
struct PackTurn {
  std::size_t active = 0;    ///< runs that go on
  std::size_t updated = 0;   ///< runs that were updated in the last turn; none before the first
  std::int64_t samples = 0;  ///< of those updates together
  double seconds = 0.0;      ///< that the updates took, without measuring and saving. Of this rank's clock
};

/// Where the runs of a pack come from and go to. Called between updates on all ranks, which must give equal answers.
class PackSource {
 public:
  virtual ~PackSource() = default;
  /// Runs that begin now, beside those that are active. The pack ends when none is active and none joins.
  [[nodiscard]] virtual std::vector<PackedRun> join(const PackTurn& turn) = 0;
  /// Whether a run, counted from 0 as they joined, shall go on; one that shall not saves and ends as at `until`.
  [[nodiscard]] virtual bool goes_on(std::size_t lane) = 0;
  /// What the numbers of a run depend on besides its configuration (`model`, `data.train`, `data.validation`), before
  /// its first update. Called on rank 0. What it throws ends the run.
  virtual void check_inputs(std::size_t lane, const std::map<std::string, std::string>& fingerprint) = 0;
  /// What came of a run; its directory and memory are free.
  virtual void ended(std::size_t lane, const LaneOutcome& outcome) = 0;
};

/// Runs several configurations at once, with one forward and backward pass for all of those that can share them, and
/// the others beside them: each has the bytes of its run alone, and ends by itself. All ranks call it with equal
/// arguments. An error that one lane's ranks agree on is that lane's; any other is thrown.
std::vector<LaneOutcome> train_pack(std::span<const RunConfig> configs, comm::Communicator& communicator,
                                    const TrainOptions& options = {});

/// The same for runs that come and go. Of `options`, `until`, `goes_on` and `check_inputs` are the source's.
void train_pack(PackSource& source, comm::Communicator& communicator, const TrainOptions& options = {});

/// Writes all exports of `config` anew, from the best checkpoint by validation loss where it is kept, else from the
/// newest, and returns their folders. Owns the run directory meanwhile. All ranks call; errors are those of all. Of
/// `options` it follows `bare` and `bases`.
std::vector<std::filesystem::path> export_run(const RunConfig& config, comm::Communicator& communicator,
                                              const TrainOptions& options = {});

}  // namespace dormer::train
