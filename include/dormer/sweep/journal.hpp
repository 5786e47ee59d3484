#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "dormer/sweep/event.hpp"

namespace dormer::sweep {

/// How processes take turns at a journal.
enum class LockKind : std::uint8_t {
  kKernel,  ///< a lock of the kernel, which frees it when its holder dies
  kFolder   ///< a folder that its holder makes and removes, for file systems without locks; a holder that shows no
            ///< life for a minute is passed over
};

/// The sweep's one truth: a file of events that processes on many machines append to, each under the lock, so that all
/// see them in one order. A line that a process was killed in is cut off by the next one. Use from one thread.
class Journal {
 public:
  /// Nothing is touched. `progress` is called now and then while the lock is waited for.
  explicit Journal(std::filesystem::path file, LockKind lock = LockKind::kKernel, std::function<void()> progress = {});

  using Apply = std::function<void(const Event&)>;
  using Decide = std::function<std::vector<Event>()>;
  /// Under the lock: hands the events that others have appended since the last call to `apply`, asks `decide` for what
  /// to append, appends it with one write and hands it to `apply` too. An I/O error where the file does not take it;
  /// nothing is appended then and nothing applied, and it may be called again. An input error for a line that is no
  /// event, with its number.
  void transact(const Apply& apply, const Decide& decide);
  /// The events since the last call, without the lock and without changing anything: for who only looks. A torn last
  /// line is left for later.
  void read(const Apply& apply);

  [[nodiscard]] const std::filesystem::path& file() const { return file_; }

 private:
  void read_from(int descriptor, const Apply& apply, bool holds_lock);

  std::filesystem::path file_;
  LockKind lock_;
  std::function<void()> progress_;
  std::int64_t offset_ = 0;  ///< bytes that were read
  std::int64_t line_ = 0;    ///< lines that were read
};

}  // namespace dormer::sweep
