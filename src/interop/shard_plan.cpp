#include "shard_plan.hpp"

#include <fmt/format.h>

namespace dormer::interop {

std::vector<std::vector<PlannedArray>> plan_shards(std::span<const PlannedArray> arrays, std::int64_t largest) {
  std::vector<std::vector<PlannedArray>> shards;
  std::int64_t filled = 0;
  for (const PlannedArray& array : arrays) {
    if (shards.empty() || filled + array.bytes > largest) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(array);
    filled += array.bytes;
  }
  return shards;
}

std::string shard_name(std::string_view stem, std::size_t index, std::size_t count) {
  return count == 1 ? fmt::format("{}.safetensors", stem)
                    : fmt::format("{}-{:05}-of-{:05}.safetensors", stem, index + 1, count);
}

}  // namespace dormer::interop
