#pragma once

#include "dormer/kernels/kernels.hpp"

namespace dormer::cuda {

/// Every operation as launches on LibTorch's current stream of the current device; they follow what LibTorch put there
/// before and precede what it puts there after. Throws where a launch is refused.
[[nodiscard]] const kernels::Kernels& launches();

}  // namespace dormer::cuda
