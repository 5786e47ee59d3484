#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "dormer/report/metrics_reader.hpp"

namespace dormer::report {

class GrowingFile;

/// The scalars of metrics.jsonl once more, as TensorBoard reads them: files of events in a folder, one for each life of
/// the run. Rank 0 alone has one.
class EventWriter {
 public:
  /// Cuts the files of earlier lives behind the last step of `history` (what metrics.jsonl holds: the truth) and begins
  /// a new one with what they lack of it: wherever a life was killed, no step is missing or there twice.
  EventWriter(const std::filesystem::path& folder, std::span<const StepMetrics> history);
  ~EventWriter();
  EventWriter(const EventWriter&) = delete;
  EventWriter& operator=(const EventWriter&) = delete;

  /// Appends the event of `step` with one write; what the disk does not take is kept, told once, and written later.
  void write(std::int64_t step, std::span<const Metric> metrics);
  /// The file that this life writes.
  [[nodiscard]] const std::filesystem::path& file() const;

 private:
  std::unique_ptr<GrowingFile> file_;
};

}  // namespace dormer::report
