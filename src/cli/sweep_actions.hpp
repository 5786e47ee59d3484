#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/config_options.hpp"

namespace dormer::cli {

// What `dormer sweep WORD` does; each returns the exit code.

/// Points, trials, rungs, updates, time of devices and memory, before anything runs. `measure` times updates of the
/// first trial for it, in a temporary folder.
[[nodiscard]] int sweep_plan(const ConfigOptions& options, std::size_t points, bool measure);
/// Works at the sweep until it is done: alone, under mpirun as one worker for each group of ranks, or as a task of an
/// array of jobs.
[[nodiscard]] int sweep_run(const ConfigOptions& options, bool quiet);
[[nodiscard]] int sweep_status(const ConfigOptions& options, std::size_t best);
/// Exports the adapter of the best complete trial into best/, for the file's exports or for `consumers`.
[[nodiscard]] int sweep_best(const ConfigOptions& options, const std::vector<std::string>& consumers);
[[nodiscard]] int sweep_stop(const ConfigOptions& options, std::int64_t trial);
/// Adds a point like a trial's, with settings of its own.
[[nodiscard]] int sweep_clone(const ConfigOptions& options, std::int64_t trial,
                              const std::vector<std::string>& settings);
/// Adds the point of these settings.
[[nodiscard]] int sweep_add(const ConfigOptions& options, const std::vector<std::string>& settings);
[[nodiscard]] int sweep_export(const ConfigOptions& options, bool csv, const std::string& output);
[[nodiscard]] int sweep_report(const ConfigOptions& options);
/// Claims a trial for a program outside and prints it as a JSON object; `null` where none is to be had now, and exit
/// code 0 too.
[[nodiscard]] int sweep_ask(const ConfigOptions& options, const std::string& worker);

struct Answer {
  std::int64_t trial = 0;
  std::int64_t attempt = 0;
  std::int64_t step = 0;
  double value = 0.0;
  double seconds = 0.0;
  bool finished = false;
  std::string failed;  ///< a reason; empty: it was measured
};
[[nodiscard]] int sweep_tell(const ConfigOptions& options, const Answer& answer);

}  // namespace dormer::cli
