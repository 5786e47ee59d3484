#include "dormer/storage/mapped_file.hpp"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dormer/core/error.hpp"

namespace dormer::storage {
namespace {

// Maps an open file; returns the errno of a failure, or 0.
int map_all(int descriptor, std::span<const std::byte>& bytes, bool& regular) {
  struct stat facts = {};
  if (::fstat(descriptor, &facts) != 0) {
    return errno;
  }
  regular = S_ISREG(facts.st_mode);
  if (!regular || facts.st_size == 0) {  // an empty range cannot be mapped
    return 0;
  }
  const auto size = static_cast<std::size_t>(facts.st_size);
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, 0);
  if (address == MAP_FAILED) {
    return errno;
  }
  bytes = {static_cast<const std::byte*>(address), size};
  return 0;
}

}  // namespace

MappedFile::MappedFile(std::filesystem::path path, std::span<const std::byte> bytes)
    : path_(std::move(path)), bytes_(bytes) {}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) {
    ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }
}

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path, std::string_view what) {
  // Not blocking: a FIFO under that name must be refused, not waited for.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) {
    const int code = errno;
    const bool nowhere = code == ENOENT || code == ENOTDIR || code == ELOOP || code == ENAMETOOLONG;
    require(!nowhere, Fault::kInput, "{} not found: {}; check the path", what, path.string());
    fail(Fault::kIo, "cannot open {} {}: {}", what, path.string(), std::strerror(code));
  }
  std::span<const std::byte> bytes;
  bool regular = true;
  const int code = map_all(descriptor, bytes, regular);
  ::close(descriptor);
  require(code == 0, Fault::kIo, "cannot map {} {}: {}", what, path.string(), std::strerror(code));
  require(regular, Fault::kInput, "{} is not a regular file: {}; give the file itself", what, path.string());
  return std::shared_ptr<const MappedFile>(new MappedFile(path, bytes));
}

}  // namespace dormer::storage
