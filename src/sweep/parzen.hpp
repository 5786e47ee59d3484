#pragma once

#include <span>
#include <vector>

#include "dormer/core/random_key.hpp"
#include "dormer/sweep/space.hpp"

namespace dormer::sweep {

/// The density of one parameter that observations suggest: a kernel at each of them and one over the whole range, the
/// prior (Bergstra et al. 2011; bandwidths and weights as in Optuna's TPESampler).
class ParzenEstimator {
 public:
  /// `observations` are coordinates, the oldest first.
  ParzenEstimator(const Parameter& parameter, std::span<const double> observations);

  /// A coordinate drawn from it. A function of the key.
  [[nodiscard]] double sample(RandomKey key) const;
  /// The logarithm of its density at a coordinate, up to a constant of the parameter.
  [[nodiscard]] double log_density(double coordinate) const;

 private:
  struct Kernel {
    double weight;  ///< all together: 1
    double center;  ///< of options: the observed one, and -1 for the prior
    double width = 0.0;
    double log_mass = 0.0;  ///< of the bell between the ends of the range
  };
  void place_widths(std::vector<Kernel>& kernels) const;
  [[nodiscard]] double share_of_option(const Kernel& kernel, double option) const;
  [[nodiscard]] double scale(double coordinate) const;

  Parameter parameter_;
  double low_ = 0.0;  ///< of the range on the scale of the kernels, with half a step beyond
  double high_ = 0.0;
  std::vector<Kernel> kernels_;
};

}  // namespace dormer::sweep
