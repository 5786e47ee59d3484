#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "dormer/optim/optimizer.hpp"

namespace dormer::optim {

/// An exponential moving average of parameters.
struct AverageSettings {
  double decay = 0.999;    ///< what the average keeps of itself each time
  std::int64_t every = 1;  ///< updates between two renewals
};

/// What the average keeps of itself at its n-th renewal, counted from 1: (1 + n) / (10 + n) while that is below the
/// decay, so that the start is soon forgotten (the rule of diffusers' EMAModel and of OneTrainer). Pure.
[[nodiscard]] double average_keep(const AverageSettings& settings, std::int64_t renewal);

/// An optimizer that also keeps an average of what `inner`, which has none, trains: it begins as the parameters before
/// the first update. Element by element, so it is the same for every slice.
[[nodiscard]] std::unique_ptr<Optimizer> with_average(std::unique_ptr<Optimizer> inner, const AverageSettings& settings,
                                                      const std::string& device);

}  // namespace dormer::optim
