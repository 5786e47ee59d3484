#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "dormer/adapter/start.hpp"
#include "dormer/core/random_key.hpp"

/// Factors of a weight from which low-rank changes start.
namespace dormer::adapter {

/// s Bᵀ A is the part of W that the start takes.
struct WeightFactors {
  at::Tensor a;  ///< fp32 [rank, in]
  at::Tensor b;  ///< fp32 [rank, out]
};

/// What is asked of a weight.
struct FactorRequest {
  StartRule rule{};
  std::int64_t rank = 0;
  double scale = 1.0;  ///< s
  RandomKey key{};     ///< of the randomized decomposition
};

/// Factors of W [out, in], of any dtype and device, computed in fp64 on the host, with rank <= min(out, in). As PEFT:
/// PiSSA divides the singular values by s and gives each factor their square roots; OLoRA's factors know no s, so that
/// s times their product is taken. The signs of each pair of rows are those that make the largest element of A's
/// positive: they do not depend on the library that decomposed.
[[nodiscard]] WeightFactors factors_of_weight(const at::Tensor& weight, const FactorRequest& request);

/// 1 or -1 for each row [rows, 1]: what makes its largest element positive.
[[nodiscard]] at::Tensor settling_signs(const at::Tensor& rows);

}  // namespace dormer::adapter
