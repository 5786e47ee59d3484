#pragma once

#include <cstdint>

namespace dormer::kernels {

/// Registers that a loop written in vectors is compiled for: of 4, 8 or 16 floats, the last ones also with products of
/// bfloat16 in pairs. Its bits do not depend on them.
enum class VectorLevel : std::uint8_t { kBase, kAvx2, kAvx512, kAvx512Pairs };

/// The widest level of this processor. Always kBase on processors other than x86-64.
VectorLevel best_vector_level();

}  // namespace dormer::kernels
