#pragma once

#include <string>

namespace dormer {

/// The name of this machine, as the system knows it; cut at 255 bytes.
[[nodiscard]] std::string host_name();

}  // namespace dormer
