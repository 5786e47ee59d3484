#pragma once

#include <ATen/core/Tensor.h>

namespace dormer::adapter {

/// What a decomposition needs of a change Δ (scale included) to know the norms of W + Δ without forming either: for
/// every norm the sums over its elements of W ∘ Δ and of Δ ∘ Δ, fp32 [norm_count].
struct NormTerms {
  at::Tensor cross;
  at::Tensor square;
};

}  // namespace dormer::adapter
