#include "dormer/core/host_name.hpp"

#include <array>

#include <unistd.h>

namespace dormer {

std::string host_name() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return host.data();
}

}  // namespace dormer
