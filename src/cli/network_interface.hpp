#pragma once

#include <string>

namespace dormer::cli {

/// "eth0 (10.0.0.7)": by which interface and address this machine sends to a host, as its routes say; "unknown" where
/// the host has no address here. An MPI or NCCL that was told otherwise may take another one.
[[nodiscard]] std::string interface_towards(const std::string& host);

}  // namespace dormer::cli
