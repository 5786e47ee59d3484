#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "dormer/report/metrics_writer.hpp"

namespace dormer::report {

/// One line of metrics.jsonl. Values that are no numbers (null: it was not finite) are left out.
struct StepMetrics {
  std::int64_t step = 0;
  std::vector<Metric> metrics;
};

/// All lines of a metrics.jsonl, steps ascending. A torn last line is left out: the run may be writing it. A whole line
/// that is none is an input error with its number; a file that is missing or cannot be read is an I/O error.
[[nodiscard]] std::vector<StepMetrics> read_metrics(const std::filesystem::path& file);

}  // namespace dormer::report
