#include "support/adapter_file.hpp"

#include <random>
#include <span>

namespace dormer::test {

std::vector<float> AdapterFile::add(const std::string& name, const std::vector<std::int64_t>& shape) {
  std::size_t count = 1;
  for (const std::int64_t size : shape) {
    count *= static_cast<std::size_t>(size);
  }
  std::mt19937_64 generator(seed_ + arrays_.size());
  std::vector<float> values(count);
  for (float& value : values) {
    value = static_cast<float>(generator() >> 40U) * 0x1p-24F - 0.5F;
  }
  add_values(name, shape, values);
  return values;
}

void AdapterFile::add_values(const std::string& name, const std::vector<std::int64_t>& shape,
                             const std::vector<float>& values) {
  arrays_.push_back({name, shape, values});
}

void AdapterFile::write(const std::filesystem::path& path, const storage::Metadata& metadata) const {
  std::vector<storage::NamedArray> arrays;
  for (const Array& array : arrays_) {
    arrays.push_back({.name = array.name,
                      .dtype = DType::kF32,
                      .shape = array.shape,
                      .bytes = std::as_bytes(std::span<const float>(array.values))});
  }
  storage::write_safetensors(path, arrays, metadata);
}

}  // namespace dormer::test
