#pragma once

#include <memory>

#include "dormer/adapter/change.hpp"

namespace dormer::adapter {

/// LoRA of a linear layer whose factors start from W (`takes_from_weight`): Δ = s (B A - B0 A0), the frozen weight
/// stays as it is. Computed as s ((B - B0) A + B0 (A - A0)): exactly zero at the start, and small movements keep their
/// digits in half precision, where B A and B0 A0 would cancel.
[[nodiscard]] std::unique_ptr<Change> moved_low_rank(const ChangeRequest& request, tensor::FlatSpace& space);

}  // namespace dormer::adapter
