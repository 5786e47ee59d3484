#pragma once

#include <optional>

namespace dormer::optim {

// What single kinds of optimizers can be told; the others pass over it.

/// Adafactor (Shazeer and Stern 2018).
struct AdafactorSettings {
  /// The rate of update t is at most 1 / sqrt(t): the learning rate is its bound (the paper's is 1e-2).
  bool relative_step = true;
  bool scale_parameter = true;  ///< times max(1e-3, root mean square of the parameter): "relative" updates
  double decay_exponent = 0.8;  ///< second moments keep 1 - t^-exponent
  double clip_threshold = 1.0;  ///< root mean square above which an update of a parameter is scaled down
  bool operator==(const AdafactorSettings&) const = default;
};

/// CAME (Luo et al. 2023): Adafactor's moments with a momentum that trusts what moves steadily.
struct CameSettings {
  double confidence_beta = 0.9999;  ///< beta3: decay of the instability's statistics
  double clip_threshold = 1.0;
  bool operator==(const CameSettings&) const = default;
};

/// Prodigy (Mishchenko and Defazio 2023): estimates the distance d to the solution and steps by d * learning rate.
struct ProdigySettings {
  double initial_distance = 1e-6;       ///< d0
  double coefficient = 1.0;             ///< of every estimate
  std::optional<double> growth_rate{};  ///< of d in one update, at most; absent: any
  bool bias_correction = false;         ///< Adam's
  bool safeguard_warmup = false;        ///< the learning rate stays out of the estimate's denominator
  bool operator==(const ProdigySettings&) const = default;
};

}  // namespace dormer::optim
