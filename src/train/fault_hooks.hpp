#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/storage/checkpoint.hpp"

namespace dormer::train {

enum class FaultAction : std::uint8_t {
  kKill,        ///< SIGKILL
  kStop,        ///< SIGSTOP: the process is there and does nothing
  kHang,        ///< its work never goes on, while its other threads live
  kDelay,       ///< sleeps `seconds`
  kNotANumber,  ///< at "gradient" alone: one element becomes not-a-number
  kError,       ///< throws an I/O error
  kUsr1,        ///< sends itself USR1, as a scheduler does before the end
  kTerm         ///< sends itself TERM
};

/// Something that shall go wrong, for tests of what then happens.
struct FaultHook {
  FaultAction action = FaultAction::kKill;
  std::string point;
  std::optional<int> rank;           ///< absent: every rank
  std::optional<std::int64_t> step;  ///< updates done; absent: every time
  double seconds = 0.0;
  bool operator==(const FaultHook&) const = default;
};

/// "kill:committed,rank=0,step=4; delay:update,seconds=0.5": action, point, then where and when. Throws a usage error
/// that lists the words where one is not known. Pure.
[[nodiscard]] std::vector<FaultHook> parse_fault_hooks(std::string_view text);

/// What DORMER_FAULT of this process asks for. Without it `reach` compares one pointer.
class FaultHooks {
 public:
  FaultHooks() = default;
  explicit FaultHooks(std::vector<FaultHook> hooks, int rank) : hooks_(std::move(hooks)), rank_(rank) {}
  [[nodiscard]] static FaultHooks from_environment(int rank);

  /// The process has come to `point`. Returns whether a number there shall be none.
  bool reach(std::string_view point, std::int64_t step) const { return !hooks_.empty() && act(point, step); }
  /// The same for the points of a save.
  void reach(storage::CommitPoint point, std::int64_t step) const;

 private:
  [[nodiscard]] bool act(std::string_view point, std::int64_t step) const;

  std::vector<FaultHook> hooks_;
  int rank_ = 0;
};

}  // namespace dormer::train
