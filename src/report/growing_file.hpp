#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace dormer::report {

/// A file that grows while a run goes on. A disk that takes nothing more must not end the run, nor leave a gap or a
/// torn line behind: what it refuses is kept, and comes first the next time. The first refusal in a row is a warning.
class GrowingFile {
 public:
  /// Opens for appending, and makes the file; an I/O error names it.
  explicit GrowingFile(std::filesystem::path path);
  ~GrowingFile();
  GrowingFile(const GrowingFile&) = delete;
  GrowingFile& operator=(const GrowingFile&) = delete;

  /// Writes `bytes` at the end, after what is kept; with one write where nothing is and the system takes them at once.
  void add(std::string_view bytes);
  /// Tries to write what is kept, and brings what was written to the disk.
  void sync();
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  void write_kept();

  std::filesystem::path path_;
  int descriptor_ = -1;
  std::string kept_{};
  bool refused_ = false;
};

}  // namespace dormer::report
