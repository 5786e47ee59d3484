#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "dormer/core/registry.hpp"

namespace dormer::sweep {

/// A point at a rung: the mean over its seeds, the lower the better.
struct Arrival {
  std::int64_t point = 0;
  std::optional<double> value;  ///< nothing: it failed before, or was stopped
};

/// What becomes of a point that waits at a rung.
struct Judgement {
  std::int64_t point = 0;
  bool goes_on = false;
  bool operator==(const Judgement&) const = default;
};

/// One rung: points arrive and are judged, each once. What it decides depends on the arrivals and their order alone, so
/// whoever replays a journal decides the same.
class Rung {
 public:
  virtual ~Rung() = default;
  /// Those that this arrival decides about, itself and others.
  [[nodiscard]] virtual std::vector<Judgement> arrive(const Arrival& arrival) = 0;
  /// Nobody arrives any more: those that are not judged yet.
  [[nodiscard]] virtual std::vector<Judgement> close() = 0;
};

/// A rule that ends trials before their time.
class StoppingRule {
 public:
  virtual ~StoppingRule() = default;
  /// The updates after which trials of `total` updates are measured and judged: ascending, all below `total`.
  [[nodiscard]] virtual std::vector<std::int64_t> rungs(std::int64_t total) const = 0;
  [[nodiscard]] virtual std::unique_ptr<Rung> rung() const = 0;
  /// Of so many points that come to a rung, how many go on at most.
  [[nodiscard]] virtual std::int64_t most_going_on(std::int64_t points) const { return points; }
};

struct StoppingInputs {
  std::int64_t minimum_steps = 1;  ///< the first rung
  std::int64_t factor = 4;         ///< of so many points one goes on
};

using StoppingKind = std::function<std::unique_ptr<StoppingRule>(const StoppingInputs& inputs)>;

/// none, halving, asha, median, patience: one file each in src/sweep/stopping. Generated from the list in
/// src/sweep/CMakeLists.txt.
[[nodiscard]] Registry<StoppingKind> stopping_registry();

}  // namespace dormer::sweep
