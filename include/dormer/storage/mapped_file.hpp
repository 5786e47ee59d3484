#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

namespace dormer::storage {

/// Whether a path lies on a file system of the network (NFS, Lustre, GPFS, BeeGFS, CIFS, Ceph).
[[nodiscard]] bool on_network(const std::filesystem::path& path);

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
  /// Whether the bytes can be taken from under the mapping by another machine, or by a server that does not answer:
  /// touching them then ends the process. `read` what is large or kept.
  [[nodiscard]] bool on_network() const { return on_network_; }
  /// Fills `into` with the bytes from `first` on, by reading the file again: what is wrong with its disk is an I/O
  /// error, an end before the mapping's an input error.
  void read(std::size_t first, std::span<std::byte> into) const;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  MappedFile(std::filesystem::path path, std::span<const std::byte> bytes, bool on_network);

  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
  bool on_network_ = false;
};

}  // namespace dormer::storage
