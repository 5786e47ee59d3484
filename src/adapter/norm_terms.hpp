#pragma once

#include <ATen/core/Tensor.h>

namespace dormer::adapter {

/// What a decomposition needs of a change Δ (scale included) to know the norms of W + Δ without forming either: for
/// every norm the sums over its elements of W ∘ Δ and of Δ ∘ Δ, fp32 [norm_count].
struct NormTerms {
  at::Tensor cross;
  at::Tensor square;
  /// Of changes that are formed by blocks of rows anyway: the sums of (W + Δ) ∘ (W + Δ) instead, in which nothing
  /// cancels; the others are undefined then.
  at::Tensor whole{};
};

}  // namespace dormer::adapter
