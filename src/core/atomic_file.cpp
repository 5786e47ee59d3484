#include "dormer/core/atomic_file.hpp"

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "dormer/core/error.hpp"
#include "dormer/core/file_descriptor.hpp"

namespace dormer {
namespace {

[[noreturn]] void fail_io(const char* action, const std::filesystem::path& path, int code) {
  fail(Fault::kIo, "cannot {} {}: {}", action, path.string(), std::strerror(code));
}

void write_all(const FileDescriptor& file, const std::filesystem::path& path, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file.get(), bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) {
        continue;
      }
      fail(Fault::kIo, "cannot write {} ({} bytes are left to write): {}", path.string(), bytes.size(),
           std::strerror(errno));
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

using Pieces = std::span<const std::span<const std::byte>>;

void write_new_pieces(const std::filesystem::path& path, Pieces pieces) {
  FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (file.get() < 0) {
    fail_io("create", path, errno);
  }
  try {
    for (const std::span<const std::byte> bytes : pieces) {
      write_all(file, path, bytes);
    }
    if (::fsync(file.get()) != 0) {
      fail_io("flush", path, errno);
    }
    if (file.close() != 0) {
      fail_io("close", path, errno);
    }
  } catch (...) {
    ::unlink(path.c_str());
    throw;
  }
}

/// The process that a temporary of this name belongs to, or 0: it is no temporary.
pid_t owner_of_temporary(std::string_view name) {
  constexpr std::string_view kProbe = ".probe-";
  std::size_t digits = name.rfind(".tmp-");
  if (digits != std::string_view::npos) {
    digits += std::string_view(".tmp-").size();
  } else if (name.starts_with(kProbe)) {
    digits = kProbe.size();
  } else {
    return 0;
  }
  pid_t process = 0;
  const auto [end, code] = std::from_chars(name.data() + digits, name.data() + name.size(), process);
  return code == std::errc() && end == name.data() + name.size() && process > 0 ? process : 0;
}

}  // namespace

void remove_temporaries(const std::filesystem::path& folder) {
  std::error_code code;
  std::vector<std::filesystem::path> left;
  for (const auto& entry : std::filesystem::directory_iterator(folder, code)) {
    const pid_t owner = owner_of_temporary(entry.path().filename().string());
    if (owner > 0 && ::kill(owner, 0) != 0 && errno == ESRCH) {
      left.push_back(entry.path());
    }
  }
  for (const std::filesystem::path& path : left) {
    std::filesystem::remove_all(path, code);
  }
}

void write_new_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  write_new_pieces(path, Pieces(&bytes, 1));
}

void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  write_pieces_atomically(path, Pieces(&bytes, 1));
}

void write_pieces_atomically(const std::filesystem::path& path, Pieces pieces) {
  std::filesystem::path temporary = path;
  temporary += fmt::format(".tmp-{}", ::getpid());
  ::unlink(temporary.c_str());
  write_new_pieces(temporary, pieces);
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    const int code = errno;
    ::unlink(temporary.c_str());
    fail_io("rename into place", path, code);
  }
  sync_folder(path.parent_path());
}

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  write_file_atomically(path, std::as_bytes(std::span(text.data(), text.size())));
}

void sync_folder(const std::filesystem::path& folder) {
  const std::filesystem::path target = folder.empty() ? std::filesystem::path(".") : folder;
  const FileDescriptor file(::open(target.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (file.get() < 0) {
    fail_io("open the folder", target, errno);
  }
  if (::fsync(file.get()) != 0 && errno != EINVAL) {  // EINVAL: a file system that cannot sync folders
    fail_io("flush the folder", target, errno);
  }
}

void commit_folder(const std::filesystem::path& from, const std::filesystem::path& to) {
  long status = ::syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE);
  if (status != 0 && (errno == EINVAL || errno == ENOSYS)) {
    status = ::rename(from.c_str(), to.c_str());  // replaces an empty folder at most
  }
  if (status != 0) {
    fail(Fault::kIo, "cannot rename {} to {}: {}", from.string(), to.string(), std::strerror(errno));
  }
  sync_folder(to.parent_path());
}

void replace_folder(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code code;
  if (!std::filesystem::exists(std::filesystem::symlink_status(to, code))) {
    commit_folder(from, to);
    return;
  }
  std::filesystem::path old = from;
  if (::syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) {
    sync_folder(to.parent_path());
  } else {
    require(errno == EINVAL || errno == ENOSYS, Fault::kIo, "cannot exchange {} and {}: {}", from.string(), to.string(),
            std::strerror(errno));
    old += ".old";  // a file system that cannot exchange: for a moment neither name is there
    std::filesystem::rename(to, old, code);
    require(!code, Fault::kIo, "cannot rename {}: {}", to.string(), code.message());
    commit_folder(from, to);
  }
  std::filesystem::remove_all(old, code);
  require(!code, Fault::kIo, "cannot remove {}: {}", old.string(), code.message());
}

void replace_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    fail_io("rename into place", to, errno);
  }
  sync_folder(to.parent_path());
}

std::string read_file(const std::filesystem::path& path, std::string_view what) {
  std::error_code code;
  require(std::filesystem::exists(path, code), Fault::kInput, "{} not found: {}", what, path.string());
  require(!std::filesystem::is_directory(path, code), Fault::kInput, "{} is a folder, not a file: {}", what,
          path.string());
  std::ifstream stream(path, std::ios::binary);
  require(stream.good(), Fault::kIo, "cannot open {} {}: {}", what, path.string(), std::strerror(errno));
  std::ostringstream text;
  text << stream.rdbuf();
  require(!stream.bad(), Fault::kIo, "cannot read {} {}", what, path.string());
  return std::move(text).str();
}

}  // namespace dormer
