#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "dormer/storage/safetensors.hpp"

namespace dormer::test {

/// Arrays of an adapter's file, seeded and of fp32.
class AdapterFile {
 public:
  explicit AdapterFile(std::uint64_t seed) : seed_(seed) {}

  /// Numbers between -0.5 and 0.5; returns them. Each array has a stream of its own.
  std::vector<float> add(const std::string& name, const std::vector<std::int64_t>& shape);
  void add_values(const std::string& name, const std::vector<std::int64_t>& shape, const std::vector<float>& values);
  void add_number(const std::string& name, float value) { add_values(name, {}, {value}); }
  void write(const std::filesystem::path& path, const storage::Metadata& metadata = {}) const;

 private:
  struct Array {
    std::string name;
    std::vector<std::int64_t> shape;
    std::vector<float> values;
  };
  std::uint64_t seed_;
  std::vector<Array> arrays_;
};

}  // namespace dormer::test
