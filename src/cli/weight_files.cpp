#include "cli/weight_files.hpp"

#include <string_view>
#include <vector>

#include <fmt/ranges.h>

namespace dormer::cli {

void Weights::add(const storage::SafetensorsFile& file) {
  ++files;
  for (const storage::TensorEntry& entry : file.tensors()) {
    std::int64_t elements = 1;
    for (const std::int64_t size : entry.shape) {
      elements *= size;
    }
    count += elements;
    bytes += entry.end - entry.begin;
    dtypes.insert(entry.dtype);
  }
}

std::string Weights::text() const {
  constexpr double kMebibyte = 1024.0 * 1024.0;
  std::vector<std::string_view> names;
  for (const DType dtype : dtypes) {
    names.push_back(name_of(dtype));
  }
  return fmt::format("{} parameters in {}, {} file{}, {:.1f} MiB", count, fmt::join(names, " and "), files,
                     files == 1 ? "" : "s", static_cast<double>(bytes) / kMebibyte);
}

std::string weights_text(const std::filesystem::path& path) {
  Weights weights;
  if (!std::filesystem::is_directory(path)) {
    weights.add(*storage::SafetensorsFile::open(path));
    return weights.text();
  }
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
    if (entry.path().extension() == ".safetensors") {
      weights.add(*storage::SafetensorsFile::open(entry.path()));
    }
  }
  return weights.text();
}

}  // namespace dormer::cli
