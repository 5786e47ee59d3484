#include "report/growing_file.hpp"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"

namespace dormer::report {

GrowingFile::GrowingFile(std::filesystem::path path)
    : path_(std::move(path)), descriptor_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {
  require(descriptor_ >= 0, Fault::kIo, "cannot open {} for writing: {}", path_.string(), std::strerror(errno));
}

GrowingFile::~GrowingFile() {
  write_kept();
  ::close(descriptor_);
}

void GrowingFile::add(std::string_view bytes) {
  kept_ += bytes;
  write_kept();
}

void GrowingFile::sync() {
  write_kept();
  ::fsync(descriptor_);
}

void GrowingFile::write_kept() {
  while (!kept_.empty()) {
    const ssize_t written = ::write(descriptor_, kept_.data(), kept_.size());
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written <= 0) {
      if (!std::exchange(refused_, true)) {
        log::warn(
            "cannot write {} ({} bytes are left to write): {}; they are kept and written when the disk takes them",
            path_.string(), kept_.size(), std::strerror(errno));
      }
      return;
    }
    kept_.erase(0, static_cast<std::size_t>(written));
  }
  refused_ = false;
}

}  // namespace dormer::report
