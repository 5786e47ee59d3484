#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "dormer/train/run.hpp"
#include "train/checkpoint_writer.hpp"
#include "train/decisions.hpp"
#include "train/exporting.hpp"
#include "train/packed_update.hpp"
#include "train/preparation.hpp"
#include "train/run_report.hpp"
#include "train/trace_file.hpp"
#include "train/validation.hpp"

namespace dormer::train {

/// The updates of one run with what comes between them. `run_lanes` turns it: `begin`, then updates while `active`,
/// then `finish`.
class Loop {
 public:
  /// `lane` is the run's place in its pack.
  Loop(Preparation& prepared, const TrainOptions& options, RunReport& report, std::size_t lane = 0);
  /// What is measured before the first update, or what the life before had no time to measure.
  void begin();
  /// Whether there is another update to make.
  [[nodiscard]] bool active() const { return !state_.finished && !stopped_ && !paused_; }
  [[nodiscard]] PackMember begin_update();
  void end_update(const UpdateReport& report);
  /// Waits for the save that is under way: what was saved is good, and worth keeping, whatever comes.
  void settle() { settle_earlier_save(/*wait=*/true); }
  /// Exports, and says what the run was.
  [[nodiscard]] TrainResult finish();

 private:
  void validate_before_updates();
  /// What an update means for the state and for its line of metrics.
  void take_in(const UpdateReport& report, double seconds);
  void measure_pending();
  /// Nothing if a rank was asked to stop meanwhile.
  std::optional<ValidationLoss> validate();
  void note(const ValidationLoss& loss);  // among the step's metrics
  NextActions decide_next(const UpdateReport& report);
  void measure(NextActions& actions);
  /// Pictures of how the model stands, each by one rank; those that a stop cuts short are left out.
  void make_pictures();
  void write_metrics();
  void checkpoint(const NextActions& actions);
  /// Commits the save under way once it is written; rank 0 alone has any. Returns why it failed, if it did.
  std::string settle_save(bool wait);
  void settle_earlier_save(bool wait);
  [[nodiscard]] ExportRequest export_request(std::int64_t step) const;
  void export_now(const std::vector<std::size_t>& indices);
  void export_at_end();
  void tell(const UpdateReport& report) const;
  [[nodiscard]] double elapsed() const;
  [[nodiscard]] TrainResult result() const;

  Preparation& run_;
  const TrainOptions& options_;
  RunReport& report_;
  RunState& state_;
  std::chrono::steady_clock::time_point start_;
  std::optional<double> seconds_allowed_;
  LoopFacts facts_;
  CheckpointWriter writer_;
  std::int64_t saving_step_ = 0;  ///< of the last save begun
  std::optional<double> last_loss_;
  double previous_seconds_ = 0.0;
  double samples_per_second_ = 0.0;
  int told_straggler_ = -1;  ///< the one that the log named last
  std::int64_t first_step_;
  std::size_t lane_;
  double update_began_ = 0.0;
  std::optional<UpdateTrace> trace_;  ///< of the update under way
  bool stopped_ = false;
  bool paused_ = false;
};

}  // namespace dormer::train
