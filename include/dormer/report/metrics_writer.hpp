#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace dormer::report {

class GrowingFile;

/// One key of a line. Doubles are written in the shortest form that reads back to the same bits; not-a-number and
/// infinity as null.
struct Metric {
  std::string name;
  std::variant<std::int64_t, double> value;
};

/// metrics.jsonl: one JSON object a line and one line a step, in order. Rank 0 alone has one.
class MetricsWriter {
 public:
  /// Opens `file` (and makes it). Lines of steps after `last_step` are dropped, and so are a torn last line and
  /// repeated steps: a run that goes on from a checkpoint leaves neither gaps nor duplicates.
  MetricsWriter(std::filesystem::path file, std::int64_t last_step);
  ~MetricsWriter();
  MetricsWriter(const MetricsWriter&) = delete;
  MetricsWriter& operator=(const MetricsWriter&) = delete;

  /// Appends the line of `step` with one write; a step that is not above the last one is a bug error. What the disk
  /// does not take is kept, told once, and written before the next line that it takes.
  void write(std::int64_t step, std::span<const Metric> metrics);
  /// Brings what was written to the disk, and what was kept, if the disk takes it now.
  void sync();
  /// Steps of the lines in the file, the last one; -1 for an empty file.
  [[nodiscard]] std::int64_t last_step() const { return last_step_; }

 private:
  std::unique_ptr<GrowingFile> file_;
  std::int64_t last_step_ = -1;
};

}  // namespace dormer::report
