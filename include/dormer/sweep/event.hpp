#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dormer/core/error.hpp"
#include "dormer/sweep/trial_record.hpp"

namespace dormer::sweep {

/// What a line of the journal says.
enum class EventKind : std::uint8_t {
  kBegun,     ///< the sweep, of `step` points: the first line; another one brings more points
  kStarted,   ///< a worker took a trial, to train it up to `step`
  kMeasured,  ///< it came to `step`
  kReleased,  ///< its worker ended in order before that; what it saved is gone on with
  kFailed,    ///< it cannot go on
  kLost,      ///< a worker is gone without a word, with all that it had
  kStopped,   ///< somebody stopped the trial
  kAdded,     ///< somebody added a point
  kInputs     ///< what model and data of this name were when they were first loaded
};

/// One line of the journal. Which fields mean something depends on the kind.
struct Event {
  EventKind kind = EventKind::kBegun;
  std::int64_t trial = -1;
  std::int64_t attempt = 0;  ///< of the trial, from 1: what an attempt says that is not the last one counts no more
  std::int64_t step = 0;
  bool finished = false;        ///< measured: no update is left, or patience ran out
  std::int64_t parameters = 0;  ///< measured: that the trial trains; 0: unknown
  std::string worker{};
  std::vector<Measurement> measurements{};  ///< since the last line of the trial
  Fault fault = Fault::kBug;                ///< of a failure
  std::string text{};                       ///< a reason, the sweep's identity, or which inputs
  std::vector<std::pair<std::int64_t, std::int64_t>>
      saved{};  ///< of a lost worker's trials: number, updates on the disk
  /// Of a trial that is started for the first time, or a point that is added. Of inputs: name and fingerprint.
  std::optional<Point> settings{};
  double time = 0.0;  ///< seconds since 1970, for people
};

/// A JSON object in one line, without its end. Doubles read back to the same bits.
[[nodiscard]] std::string to_line(const Event& event);

/// Throws an input error that names `where` for text that is no event.
[[nodiscard]] Event parse_event(std::string_view line, const std::string& where);

}  // namespace dormer::sweep
