#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "dormer/interop/adapter_format.hpp"
#include "dormer/interop/stored_adapter.hpp"

namespace dormer::interop {

/// How PEFT 0.21 (tuners/lokr) splits a width by `decompose_factor`: in the order (factor, rest) where the factor
/// divides it, else the smaller part first; -1: as near to the square root as it comes. Pure.
[[nodiscard]] std::pair<std::int64_t, std::int64_t> peft_factorization(std::int64_t width, std::int64_t factor);

/// The settings from which PEFT builds LoKr factors of an adapter's shapes.
struct PeftKronecker {
  bool decompose_both = false;
  std::int64_t decompose_factor = -1;
  bool tucker = false;  ///< use_effective_conv2d
};

/// Throws a usage error that names the layer where PEFT has no setting for its shapes. `base` tells the kernels of
/// layers whose factors do not.
[[nodiscard]] PeftKronecker peft_kronecker(const StoredAdapter& adapter, const BaseFacts& base);

/// The least rank at which PEFT keeps both factors of a layer whole.
[[nodiscard]] std::int64_t whole_rank(const StoredLayer& layer, bool decompose_both);

}  // namespace dormer::interop
