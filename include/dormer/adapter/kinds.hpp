#pragma once

#include "dormer/adapter/change.hpp"
#include "dormer/core/registry.hpp"

namespace dormer::adapter {

/// All adapter kinds, in the order of the list in src/adapter/CMakeLists.txt.
[[nodiscard]] Registry<AdapterKind> adapter_kinds();

}  // namespace dormer::adapter
