#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/core/dtype.hpp"

namespace dormer::storage {

/// A file of a checkpoint's folder.
struct ManifestFile {
  std::string name;
  std::uint64_t bytes = 0;
  std::string xxh3_128;
};

/// A run of elements of an array, as one data set of one file. Slices of one name cover the array without overlap.
struct ManifestSlice {
  std::string name;  ///< of the array and of the data set
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;  ///< of the whole array
  std::int64_t offset = 0;          ///< first element, in row-major order
  std::int64_t count = 0;           ///< elements
  std::string file;
  std::string xxh3_128;  ///< of the slice's bytes
};

/// What a checkpoint consists of. Written last: a folder without a good one is not a checkpoint.
struct Manifest {
  static constexpr std::string_view kFormat = "dormer.checkpoint/1";
  static constexpr std::string_view kFileName = "manifest.json";

  std::int64_t step = 0;
  std::vector<ManifestFile> files;
  std::vector<ManifestSlice> arrays;
  std::string state = "{}";  ///< a JSON object, free in form
};

/// JSON, with a sum of its own over the text without that sum. `state` must be a JSON object (else a bug error).
[[nodiscard]] std::string to_text(const Manifest& manifest);

/// Parses and verifies: format, own sum, plain file names, every slice's file listed, complete cover of every array.
/// `where` names the file in errors (input faults).
[[nodiscard]] Manifest parse_manifest(const std::string& text, std::string_view where);

}  // namespace dormer::storage
