#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string_view>

namespace dormer {

/// What a process is doing: told by the thread that does it, read by one that watches it. Every member is thread-safe.
class Heartbeat {
 public:
  /// Each has its own deadline: a file system may stall for half an hour without being broken.
  enum class Phase : std::uint8_t {
    kStart,  ///< before the first update: loading, joining the ranks
    kStep,   ///< computing and exchanging
    kIo      ///< writing checkpoints and exports
  };

  /// One call of a communicator.
  struct Operation {
    std::int64_t number = 0;  ///< from 1, in the order in which all ranks call; 0: there was none yet
    std::string_view name = "none";
    std::int64_t bytes = 0;
    std::int64_t under_way = 0;  ///< operations, this one among them, that have not returned
  };

  struct State {
    Phase phase = Phase::kStart;
    std::string_view what = "starting";  ///< "update", "saving", …
    std::int64_t step = 0;               ///< updates done
    std::int64_t beats = 0;              ///< changes whenever something begins or gets on
    double seconds = 0.0;                ///< since then
    double usual_update = 0.0;           ///< median seconds of the last updates; 0 before the first
    Operation operation;
  };

  Heartbeat();
  /// A new piece of work begins. `what` outlives this object: a literal. "update" is what updates are measured by.
  void enter(Phase phase, std::string_view what, std::int64_t step = 0);
  /// The same piece of work is still getting on.
  void progress();
  /// `name` outlives this object. Returns the operation's number.
  std::int64_t begin_operation(std::string_view name, std::int64_t bytes);
  void end_operation();
  [[nodiscard]] State state() const;

 private:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::size_t kKept = 32;  // updates whose median is the usual one

  mutable std::mutex mutex_;
  State state_;
  Time since_;                           // what is under way was told then, or last got on
  Time began_;                           // it was told then
  std::array<double, kKept> updates_{};  // seconds of the last ones
  std::size_t update_count_ = 0;
};

}  // namespace dormer
