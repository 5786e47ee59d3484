#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>

#include "dormer/core/dtype.hpp"
#include "dormer/storage/safetensors.hpp"

namespace dormer::cli {

/// Numbers, bytes and dtypes of the arrays of some files.
struct Weights {
  std::int64_t count = 0;
  std::uint64_t bytes = 0;
  std::size_t files = 0;
  std::set<DType> dtypes;

  void add(const storage::SafetensorsFile& file);
  [[nodiscard]] std::string text() const;  ///< "1056 parameters in float32, 1 file, 0.0 MiB"
};

/// Of a .safetensors file, or of all in a folder and below it.
[[nodiscard]] std::string weights_text(const std::filesystem::path& path);

}  // namespace dormer::cli
