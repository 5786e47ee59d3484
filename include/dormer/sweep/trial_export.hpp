#pragma once

#include <span>
#include <string>

#include "dormer/sweep/trial_record.hpp"

namespace dormer::sweep {

/// All trials as comma-separated values: a line of names, then a line a trial; `trial`, `point`, `replica`, `state`,
/// `value`, `steps`, `seconds`, `worker`, `reason`, and then a column for each parameter path, in the order in which
/// they first occur. Fields are quoted by RFC 4180; lines end in \n; what a trial does not have is empty. Pure.
[[nodiscard]] std::string trials_csv(std::span<const TrialRecord> trials);

/// All that is known of the trials, as one JSON object {"format": "dormer.trials/1", "trials": [...]}, a line a trial.
/// Doubles are the shortest that read back to the same bits, null where not finite. A setting stands as the number,
/// truth value, null or list that it is in JSON, else as text. Pure.
[[nodiscard]] std::string trials_json(std::span<const TrialRecord> trials);

}  // namespace dormer::sweep
