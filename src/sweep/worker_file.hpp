#pragma once

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace dormer::sweep {

/// A worker's sign of life, a file that is touched every 20 seconds for as long as the object lives. Its name is the
/// worker's: host, process and when that began, so that no two lives have the same.
class WorkerFile {
 public:
  explicit WorkerFile(const std::filesystem::path& folder);
  ~WorkerFile();
  WorkerFile(const WorkerFile&) = delete;
  WorkerFile& operator=(const WorkerFile&) = delete;

  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  void touch() const;

  std::string name_;
  std::filesystem::path file_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ends_ = false;
  std::thread thread_;
};

/// Whether nobody counts on the worker of this name any more: its process does not live on this machine, or from
/// elsewhere its file was not touched for two minutes, by the clock of the file system.
[[nodiscard]] bool is_gone(const std::filesystem::path& folder, const std::string& worker);

/// Seconds since the worker's file was touched, by the clock of the file system; infinity without a file.
[[nodiscard]] double silent_seconds(const std::filesystem::path& folder, const std::string& worker);

}  // namespace dormer::sweep
