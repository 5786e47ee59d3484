#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "dormer/sweep/leaderboard.hpp"

namespace dormer::sweep {

enum class ParameterKind : std::uint8_t {
  kNumeric,  ///< on a line
  kLog,      ///< on a line of its logarithm
  kChoice    ///< one of several texts
};

/// What statistics know of a parameter of the space.
struct ParameterFacts {
  std::string path;
  ParameterKind kind = ParameterKind::kChoice;
};

/// The text of `path` in a point; nothing where the point does not have it.
[[nodiscard]] const std::string* setting_of(const Point& point, const std::string& path);

struct Importance {
  std::string path;
  double divergence = 0.0;    ///< as below, not below 0
  double share = 0.0;         ///< of the sum over all parameters
  std::int64_t points = 0;    ///< that have the parameter
  std::int64_t selected = 0;  ///< of them, the best ones
};

/// How much each parameter has to do with being among the best, most important first.
///
/// PED-ANOVA (Watanabe, Bansal and Hutter: "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary
/// Subspaces", IJCAI 2023, arXiv 2304.10255, theorem 1 in its local form): the Pearson divergence
/// sum over x of p(x) (q(x) / p(x) - 1)^2, with p the density of the parameter over all points that have it and q over
/// the best of those. The best are a tenth of them, at least 5, at most half, ties with the last one included. A
/// parameter that does not matter has the same density in both.
///
/// Densities: numbers on a grid of 50 cells between the smallest and the largest one, or of one cell for each value
/// where at least half repeat others; each a normal kernel, cut at the ends, with Scott's bandwidth (1.059 min(sigma,
/// IQR / 1.34) n^(-1/5), at least 0.5 / 1.64 cells). Choices by counting. To both comes one uniform observation, so
/// that few points tell little.
///
/// Only the order of the points enters, so stopped and failed points count (a learning rate at which trials fail
/// matters); those that are not ended and have no value do not. A parameter with one value, or fewer than 10 points,
/// has 0. The shares of parameters that hang on conditions are about the points that have them. Pure.
[[nodiscard]] std::vector<Importance> importances(std::span<const Standing> leaderboard,
                                                  std::span<const ParameterFacts> parameters);

}  // namespace dormer::sweep
