#include "cuda/nccl_plan.hpp"

#include <algorithm>
#include <array>
#include <functional>

namespace dormer::cuda {

std::vector<Part> parts_of(std::span<const std::int64_t> counts) {
  std::vector<Part> parts;
  std::int64_t begin = 0;
  for (std::size_t owner = 0; owner < counts.size(); ++owner) {
    if (counts[owner] > 0) {
      parts.push_back({.owner = static_cast<int>(owner), .begin = begin, .count = counts[owner]});
    }
    begin += counts[owner];
  }
  return parts;
}

bool are_equal(std::span<const std::int64_t> counts) {
  return std::adjacent_find(counts.begin(), counts.end(), std::not_equal_to<>()) == counts.end();
}

bool can_reduce(DType dtype) {
  constexpr std::array kReduced{DType::kU8,  DType::kI8,  DType::kU32, DType::kI32,
                                DType::kU64, DType::kI64, DType::kF32, DType::kF64};
  return std::find(kReduced.begin(), kReduced.end(), dtype) != kReduced.end();
}

}  // namespace dormer::cuda
