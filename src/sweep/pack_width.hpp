#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "dormer/train/run.hpp"

namespace dormer::sweep {

/// How many trials share a step: as many as were asked for, or under `auto` as many as pay. That is measured on the
/// way: a pack doubles as long as it fits in memory and the doubling before brought a tenth more samples a second at
/// least, and keeps the last width that did. Pure but for `fits`; trials have the same bytes in every width.
class PackWidth {
 public:
  /// Whether so many trials fit in memory.
  using Fits = std::function<bool(std::size_t width)>;

  /// `fixed`: nothing is `auto`.
  PackWidth(std::optional<std::int64_t> fixed, Fits fits);

  /// Takes in what a turn took. Turns of a pack that is not full say nothing.
  void note(const train::PackTurn& turn);
  [[nodiscard]] std::size_t width() const { return width_; }

 private:
  void settle(std::size_t width);

  Fits fits_;
  std::size_t width_ = 1;
  bool settled_ = false;
  double rate_before_ = 0.0;   ///< samples a second at half the width
  std::vector<double> rates_;  ///< of the turns at this width
};

}  // namespace dormer::sweep
