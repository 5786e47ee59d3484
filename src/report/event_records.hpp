#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "dormer/report/metrics_writer.hpp"

namespace dormer::report {

// TensorBoard's file format: TFRecord frames (length, its sum, bytes, their sum) around messages `tensorflow.Event` in
// protobuf's wire format. Everything here is a pure function.

/// `message` in its frame.
[[nodiscard]] std::string framed(std::string_view message);

/// What every file begins with: the version, and that a session starts whose first step is `step`. A reader that has
/// seen that step or later ones in an earlier file forgets them there.
[[nodiscard]] std::string file_beginning(double wall_time, std::int64_t step);

/// The frame of one step's scalars; numbers that are not finite are left out, as metrics.jsonl has null for them.
[[nodiscard]] std::string scalar_record(double wall_time, std::int64_t step, std::span<const Metric> metrics);

/// The beginning of a file that a run keeps.
struct KeptEvents {
  std::size_t bytes = 0;
  std::int64_t last_step = -1;  ///< of its last scalars; -1: none
};

/// Which part of a file's bytes holds whole frames and no scalars of steps after `last_step`.
[[nodiscard]] KeptEvents kept_events(std::string_view file, std::int64_t last_step);

}  // namespace dormer::report
