#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dormer::interop {

/// One array of a model's folder.
struct PlannedArray {
  std::string name;
  std::int64_t bytes = 0;
};

/// Cuts arrays, in their order, into files of at most `largest` bytes; an array that is larger has one of its own.
/// Pure.
[[nodiscard]] std::vector<std::vector<PlannedArray>> plan_shards(std::span<const PlannedArray> arrays,
                                                                 std::int64_t largest);
/// "model.safetensors", or "model-00001-of-00003.safetensors", for the stem "model". Pure.
[[nodiscard]] std::string shard_name(std::string_view stem, std::size_t index, std::size_t count);

}  // namespace dormer::interop
