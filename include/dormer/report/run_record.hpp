#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dormer/report/metrics_reader.hpp"

namespace dormer::report {

/// How far the rows of one layer's weight are from where they began: see adapter::WeightChange.
struct LayerChange {
  std::string layer;
  double magnitude = 0.0;
  double direction = 0.0;
};

/// What a report says of a run besides its metrics. Texts and numbers: their meaning is the writer's.
struct RunRecord {
  static constexpr const char* kFileName = "report.json";
  std::string name;
  std::string state;             ///< how the run stands or ended, one line
  std::optional<int> exit_code;  ///< absent: the run has not ended, or could not say how
  std::int64_t step = 0;         ///< updates done when the record was written
  std::int64_t total_steps = 0;
  std::vector<std::pair<std::string, std::string>> facts;   ///< versions, ranks: a name and what it is
  std::vector<std::pair<std::string, std::string>> config;  ///< every key of the effective configuration
  std::vector<LayerChange> layers;                          ///< after `step` updates; empty: not measured
};

/// JSON.
[[nodiscard]] std::string to_text(const RunRecord& record);

/// Throws an input error that names `where` for text that is no record.
[[nodiscard]] RunRecord parse_run_record(std::string_view text, const std::string& where);

/// A picture that the run made, as a file.
struct SampleFile {
  std::int64_t step = 0;  ///< after so many updates
  std::string name;       ///< "0000.png"
  std::filesystem::path path;
};

/// A run as its directory tells it.
struct Run {
  static constexpr const char* kSamplesFolder = "samples";
  std::filesystem::path folder;
  RunRecord record;
  std::vector<StepMetrics> metrics;
  std::vector<SampleFile> samples{};  ///< by name, then by step
};

/// Reads the metrics and the record of a run directory, finished or running. Without a record the folder gives the
/// name. Throws a usage error for a folder that does not exist and an input error for one without metrics.
[[nodiscard]] Run read_run(const std::filesystem::path& folder);

}  // namespace dormer::report
