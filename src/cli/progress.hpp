#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "dormer/train/run.hpp"

namespace dormer::cli {

/// "12 s", "3 min 20 s", "2 h 05 min".
[[nodiscard]] std::string time_text(double seconds);

/// "update 12/40  loss 2.5131  454 tokens/s  1 min 20 s left"
[[nodiscard]] std::string progress_text(const train::Progress& progress);

/// Shows how a run goes on: one line that renews itself on a terminal, else a line every few seconds.
class ProgressLine {
 public:
  explicit ProgressLine(bool terminal) : terminal_(terminal) {}
  void show(const train::Progress& progress);
  /// Leaves the line on a terminal, so that what follows begins on a new one.
  void end();

 private:
  bool terminal_;
  bool open_ = false;
  std::optional<std::chrono::steady_clock::time_point> shown_;
};

}  // namespace dormer::cli
