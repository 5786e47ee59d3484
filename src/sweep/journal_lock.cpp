#include "sweep/journal_lock.hpp"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <thread>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dormer/core/error.hpp"

namespace dormer::sweep {
namespace {

constexpr std::chrono::milliseconds kPoll{5};
constexpr std::chrono::seconds kTell{1};
constexpr std::chrono::seconds kDead{60};  // without a sign of life; a holder needs milliseconds

/// Calls `progress` about once a second.
class Patience {
 public:
  explicit Patience(const std::function<void()>& progress) : progress_(progress) {}
  void wait() {
    std::this_thread::sleep_for(kPoll);
    const auto now = std::chrono::steady_clock::now();
    if (now - told_ > kTell) {
      told_ = now;
      if (progress_) {
        progress_();
      }
    }
  }

 private:
  const std::function<void()>& progress_;
  std::chrono::steady_clock::time_point told_ = std::chrono::steady_clock::now();
};

/// What tells one holding of the folder from another.
struct Holding {
  ino_t inode = 0;
  time_t seconds = 0;
  long nanoseconds = 0;
  bool operator==(const Holding&) const = default;
};

std::optional<Holding> holding_of(const std::filesystem::path& folder) {
  struct stat status = {};
  if (::stat(folder.c_str(), &status) != 0) {
    return std::nullopt;
  }
  return Holding{status.st_ino, status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
}

}  // namespace

JournalLock::JournalLock(const std::filesystem::path& journal, LockKind kind, const std::function<void()>& progress) {
  std::filesystem::path name = journal;
  if (kind == LockKind::kKernel) {
    name += ".lock";
    take_kernel_lock(name, progress);
  } else {
    name += ".held";
    folder_ = name;
    take_folder(progress);
  }
}

void JournalLock::take_kernel_lock(const std::filesystem::path& file, const std::function<void()>& progress) {
  descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  require(descriptor_ >= 0, Fault::kIo, "cannot open {}: {}", file.string(), std::strerror(errno));
  struct flock request = {};
  request.l_type = F_WRLCK;
  request.l_whence = SEEK_SET;
  Patience patience(progress);
  while (::fcntl(descriptor_, F_OFD_SETLK, &request) != 0) {
    if (errno != EAGAIN && errno != EACCES && errno != EINTR) {
      const int code = errno;
      ::close(descriptor_);
      fail(Fault::kIo, "{} cannot be locked: {}; set DORMER_SWEEP_LOCK=folder on all machines that work at the sweep",
           file.string(), std::strerror(code));
    }
    patience.wait();
  }
}

// Who finds a dead holder's folder takes it away by renaming it: only one can. If another had done so before and holds
// the folder anew, it is put back; two holders at once would need that one to die in just these microseconds, too.
void JournalLock::take_folder(const std::function<void()>& progress) {
  Patience patience(progress);
  std::optional<Holding> seen;
  auto since = std::chrono::steady_clock::now();
  while (::mkdir(folder_.c_str(), 0755) != 0) {
    require(errno == EEXIST, Fault::kIo, "cannot make {}: {}", folder_.string(), std::strerror(errno));
    const std::optional<Holding> now = holding_of(folder_);
    if (now != seen) {
      seen = now;
      since = std::chrono::steady_clock::now();
    } else if (seen && std::chrono::steady_clock::now() - since > kDead) {
      std::filesystem::path away = folder_;
      away += fmt::format(".{}-{}", ::getpid(), since.time_since_epoch().count());
      if (::rename(folder_.c_str(), away.c_str()) == 0) {
        if (holding_of(away) != seen && ::rename(away.c_str(), folder_.c_str()) == 0) {
          seen.reset();
          continue;
        }
        ::rmdir(away.c_str());
      }
    }
    patience.wait();
  }
}

JournalLock::~JournalLock() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  } else {
    ::rmdir(folder_.c_str());
  }
}

}  // namespace dormer::sweep
