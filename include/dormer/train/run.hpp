#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "dormer/comm/communicator.hpp"
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
};

/// Updates, counted from 1; none by default.
struct UpdateRange {
  std::int64_t first = 1;
  std::int64_t last = 0;
  [[nodiscard]] bool contains(std::int64_t update) const { return first <= update && update <= last; }
};

struct TrainOptions {
  /// Updates of which `trace/update-000000001.safetensors`, … are written (docs/trace.md).
  UpdateRange traced{};
  /// Called on rank 0 after every update.
  std::function<void(const Progress&)> on_progress;
  /// Is told what this process does, for a watchdog; null: nobody watches. Must outlive the run.
  Heartbeat* heartbeat = nullptr;
};

enum class Outcome : std::uint8_t {
  kFinished,        ///< all updates are done and exported
  kSavedForRequeue  ///< asked to stop or out of time: saved, exit code 85
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

/// Writes all exports of `config` anew, from the best checkpoint by validation loss where it is kept, else from the
/// newest, and returns their folders. Owns the run directory meanwhile. All ranks call; errors are those of all.
std::vector<std::filesystem::path> export_run(const RunConfig& config, comm::Communicator& communicator);

}  // namespace dormer::train
