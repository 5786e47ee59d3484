#pragma once

#include <cstdint>
#include <functional>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/adapter/site.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::adapter {

/// What an adapted layer multiplies with: m (W + Δ) / n with the cached norms, W + Δ where nothing is decomposed; fp32
/// in the layer's shape, on the host. `weight` is W in the precision that the result shall have, in any dtype. The site
/// must be one of the set's.
[[nodiscard]] at::Tensor effective_weight(const AdapterSet& adapters, const Site& site, const at::Tensor& weight);

/// Elements of the blocks below.
inline constexpr std::int64_t kEffectiveBlock = std::int64_t{1} << 20;

/// The same by blocks of rows of the layer's matrix [out, columns] (an embedding's is its transpose, [width,
/// vocabulary]), in order: rows [first, first + count) as fp32 [count, columns], at most kEffectiveBlock elements, or
/// one row.
void for_effective_rows(const AdapterSet& adapters, const Site& site, const at::Tensor& weight,
                        const std::function<void(std::int64_t first, const at::Tensor& rows)>& visit);

}  // namespace dormer::adapter
