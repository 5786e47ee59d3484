#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

namespace dormer::storage {

/// A whole file mapped read-only; ranks of one machine share its pages.
class MappedFile {
 public:
  /// Throws an input error if the file is missing or not a regular file, an I/O error if the system refuses it.
  /// `what` says in the error what it was meant to be. Shared: every tensor that lies in the mapping keeps it alive.
  [[nodiscard]] static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path, std::string_view what);

  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  MappedFile(std::filesystem::path path, std::span<const std::byte> bytes);

  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
};

}  // namespace dormer::storage
