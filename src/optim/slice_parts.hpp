#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>

#include "dormer/core/error.hpp"
#include "dormer/optim/optimizer.hpp"
#include "dormer/tensor/device_memory.hpp"

namespace dormer::optim {

/// Whether a group's elements change in this update.
inline bool trains(const ParameterGroup& group, const UpdateScalars& scalars) {
  return scalars.step < group.stop_after.value_or(scalars.step + 1);
}

/// Calls `body(part, group)` for what lies in `range` of every group; parts are counted from the slice's begin.
template <typename Body>
void for_groups(const std::vector<ParameterGroup>& groups, ElementRange slice, ElementRange range, const Body& body) {
  for (const ParameterGroup& group : groups) {
    const std::int64_t begin = std::max(group.range.begin, range.begin);
    const std::int64_t end = std::min(group.range.end, range.end);
    if (begin < end) {
      body(ElementRange{begin - slice.begin, end - slice.begin}, group);
    }
  }
}

/// The same for the groups that still train.
template <typename Body>
void for_trained(const std::vector<ParameterGroup>& groups, ElementRange slice, const UpdateScalars& scalars,
                 const Body& body) {
  for_groups(groups, slice, slice, [&](ElementRange part, const ParameterGroup& group) {
    if (trains(group, scalars)) {
      body(part, group);
    }
  });
}

/// Updates made so far, with this one: what corrections of moments count.
inline double update_count(const UpdateScalars& scalars) {
  return static_cast<double>(scalars.step - scalars.skipped + 1);
}

inline void require_slice(ElementRange slice, std::span<const float> parameters, std::span<const float> gradients) {
  invariant(std::ssize(parameters) == slice.count() && std::ssize(gradients) == slice.count(),
            "the optimizer holds {} elements, got {} parameters and {} gradients", slice.count(), parameters.size(),
            gradients.size());
}

inline at::Tensor zeros_on(std::int64_t count, const std::string& device) {
  return at::zeros({count}, at::TensorOptions(at::kFloat).device(at::Device(device)));
}

}  // namespace dormer::optim
