#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/report/metrics_writer.hpp"
#include "train/decisions.hpp"
#include "train/fingerprint.hpp"

namespace dormer::train {

/// Everything of a run's state but its arrays: what a checkpoint's manifest carries as JSON.
struct RunState {
  std::int64_t step = 0;                  ///< updates done
  std::int64_t position = 0;              ///< samples used
  std::int64_t total_steps = 0;           ///< updates of the run
  std::int64_t schedule_total = 0;        ///< updates that the schedule stretches over
  std::int64_t skipped = 0;               ///< updates that changed nothing, as something was not finite
  std::int64_t trainable_parameters = 0;  ///< 0: an older version did not say
  BestValidation best;
  std::optional<double> first_validation_loss;
  std::optional<double> last_validation_loss;  ///< the newest measurement
  std::optional<double> step_validation_loss;  ///< measured after this very step: what retention compares
  bool finished = false;                       ///< all updates are done, or patience ran out
  bool validation_pending = false;             ///< a stop came before the measurement that was due
  std::vector<report::Metric> step_metrics;    ///< of this step's line
  std::map<std::string, std::string> config;   ///< flattened
  Fingerprint fingerprint;
  std::vector<std::string> inexact_since;  ///< "step 40: cpu: … -> …" for every resume that changed the bits
};

/// JSON; doubles read back to the same bits.
[[nodiscard]] std::string to_text(const RunState& state);

/// Throws an input error that names `where` for text that is no state.
[[nodiscard]] RunState parse_run_state(std::string_view text, const std::string& where);

}  // namespace dormer::train
