#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "dormer/adapter/change.hpp"
#include "norm_terms.hpp"

/// What changes of the form Δ = s Bᵀ A share: A fp32 [rank, columns], B fp32 [rank, out].
namespace dormer::adapter {

struct LowRankProduct {
  at::Tensor a;
  at::Tensor b;
  double scale = 1.0;
};

/// The norm terms without Δ: output axis s rowsum((W Aᵀ) ∘ B), s² rowsum((B·AAᵀ) ∘ B), the input axis alike with BᵀW
/// and BᵀB. W is read in blocks, so that a half-precision one never exists whole in fp32.
[[nodiscard]] NormTerms low_rank_norm_terms(const FrozenLayer& layer, Axis axis, const LowRankProduct& change);
/// As `Change::squared_norms_of_sum`: on a CPU at a rank of at most 32, where loops of our own take less time and
/// memory than LibTorch's products. `multiplied` are the factors in the weight's dtype where the change has them: A,
/// and s B with the scale 1.
[[nodiscard]] std::optional<at::Tensor> low_rank_squared_norms(const FrozenLayer& layer, Axis axis,
                                                               const LowRankProduct& change,
                                                               const std::optional<LowRankProduct>& multiplied = {});
/// As `Change::squared_norms_of_frozen`.
[[nodiscard]] at::Tensor low_rank_frozen_norms(const FrozenLayer& layer, Axis axis, LowRankProduct change);
/// Rows [first, first + count) of Δ.
[[nodiscard]] at::Tensor low_rank_rows(const LowRankProduct& change, std::int64_t first, std::int64_t count);

/// The parameters A and B of Δ = s Bᵀ A in the flat space.
struct LowRankParameters {
  std::size_t a = 0;
  std::size_t b = 0;
};
/// Adds to their slots, where they train, what rows of a gradient of Δ (fp32, from row `first`) give them.
void add_low_rank_gradients(const tensor::FlatSpace& space, LowRankParameters parameters, double scale,
                            std::int64_t first, const at::Tensor& rows);

/// The factor [rank, channels * taps] of a Tucker (CP) form: Σ_q middle[p, q, tap] right[q, channel], with middle
/// [rank, rank, kernel…] and right [rank, channels].
[[nodiscard]] at::Tensor tucker_factor(const at::Tensor& middle, const at::Tensor& right);
/// What a gradient of that factor gives both parts, added to their slots.
void add_tucker_gradients(const at::Tensor& gradient, const at::Tensor& middle, const at::Tensor& right,
                          at::Tensor middle_slot, at::Tensor right_slot);

/// [rank, rank, kernel…].
[[nodiscard]] std::vector<std::int64_t> tucker_middle_shape(std::int64_t rank, const std::vector<std::int64_t>& kernel);

/// The rank with its padding, as `FlatSpace` stores it.
[[nodiscard]] std::int64_t padded_rank(std::int64_t rank);
/// Adds a parameter whose first axis is the rank.
std::size_t add_factor(tensor::FlatSpace& space, const std::string& name, const std::vector<std::int64_t>& shape,
                       tensor::ParameterRole role = tensor::ParameterRole::kFactorIn);

}  // namespace dormer::adapter
