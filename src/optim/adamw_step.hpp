#pragma once

#include <cmath>

#include "dormer/kernels/adamw.hpp"
#include "dormer/optim/optimizer.hpp"
#include "optim/slice_parts.hpp"

namespace dormer::optim {

/// An update's scalars of AdamW for one group, made in fp64.
inline kernels::AdamWStep adamw_step(const OptimizerSettings& settings, const ParameterGroup& group,
                                     const UpdateScalars& scalars) {
  const double count = update_count(scalars);
  const double learning_rate = group.learning_rate * scalars.schedule_factor;
  return {.gradient_scale = static_cast<float>(scalars.gradient_scale),
          .decay = static_cast<float>(1.0 - learning_rate * group.weight_decay),
          .first_weight = static_cast<float>(1.0 - settings.beta1),
          .second_keep = static_cast<float>(settings.beta2),
          .second_weight = static_cast<float>(1.0 - settings.beta2),
          .second_correction_root = static_cast<float>(std::sqrt(1.0 - std::pow(settings.beta2, count))),
          .epsilon = static_cast<float>(settings.epsilon),
          .step_size = static_cast<float>(learning_rate / (1.0 - std::pow(settings.beta1, count)))};
}

}  // namespace dormer::optim
