#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "dormer/train/run.hpp"
#include "train/decisions.hpp"
#include "train/exporting.hpp"
#include "train/preparation.hpp"
#include "train/run_report.hpp"

namespace dormer::train {

/// Updates until the run is finished or must stop, with what comes between them.
class Loop {
 public:
  Loop(Preparation& prepared, const TrainOptions& options, RunReport& report);
  [[nodiscard]] TrainResult run();

 private:
  void validate_before_updates();
  void one_update();
  UpdateReport update_and_trace(const UpdateInputs& inputs);
  double validate();
  NextActions decide_next(const UpdateReport& report);
  void measure(NextActions& actions);
  void write_metrics();
  void checkpoint(const NextActions& actions);
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
  std::optional<double> last_loss_;
  double previous_seconds_ = 0.0;
  std::int64_t first_step_;
  bool stopped_ = false;
};

}  // namespace dormer::train
