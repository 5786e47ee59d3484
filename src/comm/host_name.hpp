#pragma once

#include <array>
#include <string>

#include <unistd.h>

namespace dormer::comm {

/// The name of this machine.
inline std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? std::string(name.data()) : std::string("unknown");
}

}  // namespace dormer::comm
