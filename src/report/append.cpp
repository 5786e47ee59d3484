#include "report/append.hpp"

#include <cerrno>
#include <cstring>

#include <unistd.h>

#include "dormer/core/error.hpp"

namespace dormer::report {

void append(int descriptor, std::string_view bytes, const std::filesystem::path& file) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) {
      continue;
    }
    require(written > 0, Fault::kIo, "cannot write {}: {}", file.string(), std::strerror(errno));
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace dormer::report
