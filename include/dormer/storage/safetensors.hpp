#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/core/dtype.hpp"

namespace dormer::storage {

class MappedFile;

/// One array of a file. `begin` and `end` are bytes from the start of the data, after the header.
struct TensorEntry {
  std::string name;
  DType dtype = DType::kU8;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

using Metadata = std::map<std::string, std::string>;

/// A validated header. Every entry lies inside of the file, and the entries cover the data without hole or overlap.
struct SafetensorsHeader {
  std::uint64_t data_begin = 0;      ///< bytes from the start of the file
  std::vector<TensorEntry> tensors;  ///< sorted by name
  Metadata metadata;
};

/// Validates everything that a header says against the file's size. `where` names the file in errors (input faults).
/// Never allocates by a number of the header. As strict as the format's reference implementation, and stricter where
/// tests/storage/hostile_headers.hpp says so.
[[nodiscard]] SafetensorsHeader parse_safetensors(std::span<const std::byte> file, std::string_view where);

/// A safetensors file, mapped read-only. Validated whole before anything of it is handed out.
class SafetensorsFile {
 public:
  /// Shared: whoever holds a view into the mapping must be able to keep it alive.
  [[nodiscard]] static std::shared_ptr<const SafetensorsFile> open(const std::filesystem::path& path);

  [[nodiscard]] std::span<const TensorEntry> tensors() const { return header_.tensors; }
  [[nodiscard]] const Metadata& metadata() const { return header_.metadata; }
  [[nodiscard]] const std::filesystem::path& path() const;
  /// Null if there is none of that name.
  [[nodiscard]] const TensorEntry* find(std::string_view name) const;
  /// Into the mapping.
  [[nodiscard]] std::span<const std::byte> bytes(const TensorEntry& entry) const;
  /// Whether an array may lie in the mapping for as long as that lives: it is aligned to its dtype, which it is not in
  /// every legal file, and the file is not on a network file system (`MappedFile::on_network`). If not, `read` it.
  [[nodiscard]] bool lends(const TensorEntry& entry) const;
  /// Fills `into`, of the entry's size, from the file. Errors as of `MappedFile::read`.
  void read(const TensorEntry& entry, std::span<std::byte> into) const;
  /// The same mapping with other entries, all of which lie inside of it ("array_views.hpp").
  [[nodiscard]] std::shared_ptr<const SafetensorsFile> with_entries(std::vector<TensorEntry> entries) const;

 private:
  SafetensorsFile(std::shared_ptr<const MappedFile> file, SafetensorsHeader header);

  std::shared_ptr<const MappedFile> file_;  // shared with nobody yet, but MappedFile::open gives it so
  SafetensorsHeader header_;
};

/// The tensors of a model's folder: `model.safetensors`, or the shards that `model.safetensors.index.json` names, or
/// the views of `model.view.json` into a file elsewhere; or the same with another stem ("diffusion_pytorch_model").
class SafetensorsSet {
 public:
  struct Found {
    std::shared_ptr<const SafetensorsFile> file;  ///< keeps the mapping alive
    const TensorEntry* entry = nullptr;           ///< owned by `file`
  };

  /// Opens and validates all files. Files may be links (a hub cache's snapshot); names inside the index that hold "/"
  /// or ".." are refused.
  [[nodiscard]] static SafetensorsSet open_folder(const std::filesystem::path& folder, std::string_view stem = "model");
  [[nodiscard]] static SafetensorsSet open_file(const std::filesystem::path& path);
  /// What `write_views` wrote. Input errors for a file that is not the one that was looked at.
  [[nodiscard]] static SafetensorsSet open_views(const std::filesystem::path& path);

  [[nodiscard]] std::optional<Found> find(std::string_view name) const;
  [[nodiscard]] std::vector<std::string> names() const;  ///< sorted
  [[nodiscard]] const std::vector<std::shared_ptr<const SafetensorsFile>>& files() const { return files_; }

 private:
  std::vector<std::shared_ptr<const SafetensorsFile>> files_;
  std::map<std::string, Found, std::less<>> tensors_;
};

/// An array to write. `bytes` are row-major and little-endian.
struct NamedArray {
  std::string name;
  DType dtype = DType::kU8;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};

/// The bytes of a file with these arrays, in the order of the format's reference writer (wider dtypes first, then by
/// name), so that every array is aligned. Equal content gives equal bytes.
[[nodiscard]] std::vector<std::byte> serialize_safetensors(std::span<const NamedArray> arrays,
                                                           const Metadata& metadata);

/// Writes such a file atomically.
void write_safetensors(const std::filesystem::path& path, std::span<const NamedArray> arrays, const Metadata& metadata);

}  // namespace dormer::storage
