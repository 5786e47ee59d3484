#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dormer/report/sweep_page.hpp"

namespace dormer::report {

/// The worst value that pictures show: those beyond it (of a trial that diverged) would press all others together, and
/// are drawn there.
struct Edge {
  std::optional<double> worst;
  bool maximize = false;
  [[nodiscard]] bool beyond(double value) const;
  [[nodiscard]] double inside(double value) const;
};
/// Three distances between the quartiles from the worse one, or at the last value before.
[[nodiscard]] Edge edge_of(std::vector<double> values, bool maximize);
/// " 3 values beyond 4.2 are drawn at the edge."; empty where there are none.
[[nodiscard]] std::string edge_note(const Edge& edge, std::span<const double> values);

/// Where the values of a parameter lie: on numbers, or on names numbered from 0.
struct Places {
  bool log = false;
  std::vector<std::string> names;  ///< empty: numbers
  [[nodiscard]] bool named() const { return !names.empty(); }
  [[nodiscard]] double of(const std::string& text) const;
};

/// A sweep as its pictures need it: what is not finite left out, names shortened, trials in order.
struct SweepView {
  explicit SweepView(const SweepRecord& sweep);
  SweepRecord sweep;
  std::string metric;                ///< as people read it
  std::vector<std::string> names;    ///< of the parameters, short
  std::vector<std::size_t> best;     ///< trials, best first: by the place of their points
  std::vector<std::size_t> ordered;  ///< parameters, most important first
  std::vector<Places> places;        ///< one a parameter

  /// At most `most` trials by number: half of them the best ones, the others evenly from the rest.
  [[nodiscard]] std::vector<std::size_t> some(std::size_t most) const;
  /// " 300 of 10000 trials are drawn, the best ones among them."; empty where all are.
  [[nodiscard]] std::string some_note(std::size_t most) const;
  [[nodiscard]] bool better(double left, double right) const;
  /// Of the trials that have one.
  [[nodiscard]] std::vector<double> last_values() const;
  /// The edge of their last values: that of the complete ones lies in the picture's lower part, where they can be told
  /// apart.
  [[nodiscard]] Edge edge() const;
};

[[nodiscard]] std::optional<double> last_value(const SweepTrial& trial);
[[nodiscard]] std::int64_t last_step(const SweepTrial& trial);

/// "trial 17 (point 8): 2.103"
[[nodiscard]] std::string trial_label(const SweepTrial& trial);

[[nodiscard]] std::string capitalized(std::string text);

/// "1 trial", "3 trials".
[[nodiscard]] std::string counted(std::size_t count, const std::string& thing);

}  // namespace dormer::report
