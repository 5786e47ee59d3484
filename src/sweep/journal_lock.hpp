#pragma once

#include <filesystem>
#include <functional>

#include "dormer/sweep/journal.hpp"

namespace dormer::sweep {

/// The lock of a journal, for as long as the object lives. Waits for it, calling `progress` about once a second.
class JournalLock {
 public:
  JournalLock(const std::filesystem::path& journal, LockKind kind, const std::function<void()>& progress);
  ~JournalLock();
  JournalLock(const JournalLock&) = delete;
  JournalLock& operator=(const JournalLock&) = delete;

 private:
  void take_kernel_lock(const std::filesystem::path& file, const std::function<void()>& progress);
  void take_folder(const std::function<void()>& progress);

  std::filesystem::path folder_;  ///< of the kind kFolder
  int descriptor_ = -1;           ///< of the kind kKernel
};

}  // namespace dormer::sweep
