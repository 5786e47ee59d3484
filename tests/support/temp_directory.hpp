#pragma once

#include <filesystem>
#include <string>

#include <cstdlib>

#include "dormer/core/error.hpp"

namespace dormer::test {

/// A new folder that is removed with everything in it.
class TempDirectory {
 public:
  TempDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "dormer-test-XXXXXX").string();
    invariant(::mkdtemp(pattern.data()) != nullptr, "cannot make a folder like {}", pattern);
    path_ = pattern;
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  ~TempDirectory() {
    std::error_code code;
    std::filesystem::remove_all(path_, code);
  }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace dormer::test
