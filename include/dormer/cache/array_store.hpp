#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/tensor/forward.hpp"

namespace dormer::cache {

/// Arrays that were computed once, under keys that say all that they depend on, in a folder of HDF5 files: one dataset
/// KEY/NAME for every array. Any number of processes on any number of machines adds to it at the same time, without a
/// word among them: a file appears whole, by one rename, and is never changed afterwards; what two processes both
/// computed is there twice and equal. Not thread-safe.
class ArrayStore {
 public:
  /// Opens the folder (making it) and reads the names in its files. Files that cannot be read are passed over, with a
  /// warning: what they held is computed again.
  explicit ArrayStore(std::filesystem::path folder);
  ~ArrayStore();
  ArrayStore(ArrayStore&&) noexcept;
  ArrayStore& operator=(ArrayStore&&) noexcept;

  /// Looks at files that appeared since.
  void refresh();
  [[nodiscard]] bool contains(const std::string& key) const;
  [[nodiscard]] std::int64_t size() const;  ///< keys
  /// fp32 on the host, in the shape that was added. Input errors for keys and names that are not there, and for files
  /// that have changed.
  [[nodiscard]] at::Tensor read(const std::string& key, std::string_view name) const;

  /// Adds an array (any floating dtype, kept as fp32) to the file that the next `commit` writes.
  void add(const std::string& key, std::string_view name, const at::Tensor& values);
  [[nodiscard]] std::int64_t pending_bytes() const;
  /// Writes what was added as one file. I/O errors leave nothing behind.
  void commit();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A key of 32 hex digits over these parts, of which each counts with its length. Pure.
[[nodiscard]] std::string store_key(std::span<const std::string> parts);

}  // namespace dormer::cache
