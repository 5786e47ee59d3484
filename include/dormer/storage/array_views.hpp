#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace dormer::storage {

/// An array that lies in another safetensors file under another name: whole, in another shape, or as some of its rows.
struct ArrayView {
  std::string name;
  std::string file;                 ///< an absolute path, or a plain name: of a file beside the views
  std::string array;                ///< its name there
  std::vector<std::int64_t> shape;  ///< in its dtype there
  std::int64_t first_element = 0;   ///< row-major, of the array there
};

/// Writes the file STEM.view.json, which stands for STEM.safetensors (`SafetensorsSet::open_folder`). It names sizes
/// and headers of the files that are looked at, so that others in their places are refused. Atomic.
void write_views(const std::filesystem::path& path, std::span<const ArrayView> views);

}  // namespace dormer::storage
