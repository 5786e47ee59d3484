#include "dormer/storage/mapped_file.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
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

/// An open file that is closed at the end.
struct Descriptor {
  explicit Descriptor(const std::filesystem::path& path)
      // Not blocking: a FIFO under that name must be refused, not waited for.
      : number(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number >= 0) {
      ::close(number);
    }
  }
  int number;
};

}  // namespace

bool on_network(const std::filesystem::path& path) {
  // NFS, Lustre, GPFS, BeeGFS, CIFS, SMB 2, Ceph: numbers of linux/magic.h and of their own modules.
  constexpr std::array<unsigned long, 7> kNumbers{0x6969,     0x0BD00BD0, 0x47504653, 0x19830326,
                                                  0xFF534D42, 0xFE534D42, 0x00C36400};
  struct statfs found {};
  return ::statfs(path.c_str(), &found) == 0 &&
         std::ranges::find(kNumbers, static_cast<unsigned long>(found.f_type) & 0xFFFFFFFFUL) != kNumbers.end();
}

MappedFile::MappedFile(std::filesystem::path path, std::span<const std::byte> bytes, bool on_network)
    : path_(std::move(path)), bytes_(bytes), on_network_(on_network) {}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) {
    ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }
}

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path, std::string_view what) {
  const Descriptor file(path);
  if (file.number < 0) {
    const int code = errno;
    const bool nowhere = code == ENOENT || code == ENOTDIR || code == ELOOP || code == ENAMETOOLONG;
    require(!nowhere, Fault::kInput, "{} not found: {}; check the path", what, path.string());
    fail(Fault::kIo, "cannot open {} {}: {}", what, path.string(), std::strerror(code));
  }
  std::span<const std::byte> bytes;
  bool regular = true;
  const int code = map_all(file.number, bytes, regular);
  require(code == 0, Fault::kIo, "cannot map {} {}: {}", what, path.string(), std::strerror(code));
  require(regular, Fault::kInput, "{} is not a regular file: {}; give the file itself", what, path.string());
  return std::shared_ptr<const MappedFile>(new MappedFile(path, bytes, storage::on_network(path)));
}

void MappedFile::read(std::size_t first, std::span<std::byte> into) const {
  invariant(first <= bytes_.size() && into.size() <= bytes_.size() - first, "{} has no such bytes", path_.string());
  const Descriptor file(path_);
  for (std::size_t done = 0; done < into.size();) {
    const ssize_t count = file.number < 0 ? -1
                                          : ::pread(file.number, into.data() + done, into.size() - done,
                                                    static_cast<off_t>(first + done));
    if (count < 0 && errno == EINTR) {
      continue;
    }
    require(count >= 0, Fault::kIo, "cannot read {}: {}", path_.string(), std::strerror(errno));
    require(count > 0, Fault::kInput, "{} became shorter while it was read; start again when nobody writes it",
            path_.string());
    done += static_cast<std::size_t>(count);
  }
}

}  // namespace dormer::storage
