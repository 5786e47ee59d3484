#pragma once

#include <optional>
#include <string>

#include "dormer/report/run_record.hpp"
#include "dormer/train/run.hpp"
#include "train/preparation.hpp"

namespace dormer::train {

/// Rank 0's `report.json` and `report.html`: what the report room is told about a run. Other ranks have one that does
/// nothing. A report that cannot be written is a warning: training does not depend on it.
class RunReport {
 public:
  /// `prepared` is loaded, and outlives the object. A silent one writes nothing.
  RunReport(const Preparation& prepared, bool silent);
  /// The run goes on now; a report made meanwhile says so.
  void begin();
  /// Measures the layers as the last update left them: before an export brings the best parameters back.
  void measure_layers();
  /// The run ended, or was saved to be started again: writes the page.
  void end(Outcome outcome);
  /// The run ended with an error.
  void failed(int exit_code, const std::string& message);

 private:
  void write(bool page);

  const Preparation& run_;
  bool silent_;
  report::RunRecord record_;
};

}  // namespace dormer::train
