#include "dormer/sweep/journal.hpp"

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dormer/core/error.hpp"
#include "dormer/core/file_descriptor.hpp"
#include "sweep/journal_lock.hpp"

namespace dormer::sweep {
namespace {

std::string bytes_after(int descriptor, std::int64_t offset, const std::filesystem::path& file) {
  struct stat status = {};
  require(::fstat(descriptor, &status) == 0, Fault::kIo, "cannot read {}: {}", file.string(), std::strerror(errno));
  require(status.st_size >= offset, Fault::kInput, "{} became shorter: {} bytes, of which {} were read already",
          file.string(), status.st_size, offset);
  std::string text(static_cast<std::size_t>(status.st_size - offset), '\0');
  std::size_t have = 0;
  while (have < text.size()) {
    const ssize_t count =
        ::pread(descriptor, text.data() + have, text.size() - have, offset + static_cast<off_t>(have));
    require(count >= 0 || errno == EINTR, Fault::kIo, "cannot read {}: {}", file.string(), std::strerror(errno));
    if (count == 0) {
      break;
    }
    have += count > 0 ? static_cast<std::size_t>(count) : 0;
  }
  text.resize(have);
  return text;
}

/// All of it, or nothing and an error.
void append(int descriptor, std::int64_t offset, std::string_view text, const std::filesystem::path& file) {
  std::size_t written = 0;
  while (written < text.size()) {
    const ssize_t count =
        ::pwrite(descriptor, text.data() + written, text.size() - written, offset + static_cast<off_t>(written));
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count <= 0) {
      const int code = count < 0 ? errno : ENOSPC;
      static_cast<void>(::ftruncate(descriptor, offset));
      fail(Fault::kIo, "{} does not take {} bytes more: {}; what was trained is kept, free some space", file.string(),
           text.size(), std::strerror(code));
    }
    written += static_cast<std::size_t>(count);
  }
}

}  // namespace

Journal::Journal(std::filesystem::path file, LockKind lock, std::function<void()> progress)
    : file_(std::move(file)), lock_(lock), progress_(std::move(progress)) {}

// Opened anew each time: network file systems show others' bytes to who opens after they have closed.
void Journal::transact(const Apply& apply, const Decide& decide) {
  const JournalLock lock(file_, lock_, progress_);
  const FileDescriptor journal(::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  require(journal.get() >= 0, Fault::kIo, "cannot open {}: {}", file_.string(), std::strerror(errno));
  read_from(journal.get(), apply, /*holds_lock=*/true);
  const std::vector<Event> events = decide();
  std::string text;
  for (const Event& event : events) {
    text += to_line(event) + '\n';
  }
  append(journal.get(), offset_, text, file_);
  offset_ += static_cast<std::int64_t>(text.size());
  line_ += std::ssize(events);
  for (const Event& event : events) {
    apply(event);
  }
}

void Journal::read(const Apply& apply) {
  const FileDescriptor journal(::open(file_.c_str(), O_RDONLY | O_CLOEXEC, 0644));
  require(journal.get() >= 0, Fault::kIo, "cannot open {}: {}", file_.string(), std::strerror(errno));
  read_from(journal.get(), apply, /*holds_lock=*/false);
}

void Journal::read_from(int descriptor, const Apply& apply, bool holds_lock) {
  const std::string text = bytes_after(descriptor, offset_, file_);
  std::size_t begin = 0;
  for (std::size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n', begin)) {
    const Event event =
        parse_event(std::string_view(text).substr(begin, end - begin), fmt::format("{}:{}", file_.string(), line_ + 1));
    begin = end + 1;
    ++line_;
    apply(event);
  }
  offset_ += static_cast<std::int64_t>(begin);
  if (holds_lock && begin < text.size()) {  // whoever wrote it was killed: nobody else writes now
    require(::ftruncate(descriptor, offset_) == 0, Fault::kIo, "cannot cut {}: {}", file_.string(),
            std::strerror(errno));
  }
}

}  // namespace dormer::sweep
