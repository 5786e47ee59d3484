#pragma once

#include <algorithm>
#include <cstdint>

#include "dormer/comm/communicator.hpp"
#include "dormer/core/error.hpp"

namespace dormer::comm {

template <typename T>
void reduce_values_of(ReduceOp op, T* into, const T* from, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    switch (op) {
      case ReduceOp::kSum:
        into[i] = static_cast<T>(into[i] + from[i]);
        break;
      case ReduceOp::kMin:
        into[i] = std::min(into[i], from[i]);
        break;
      case ReduceOp::kMax:
        into[i] = std::max(into[i], from[i]);
        break;
    }
  }
}

/// Reduces `from` into `into`, element by element.
inline void reduce_values(DType dtype, ReduceOp op, void* into, const void* from, std::int64_t count) {
  const auto as = [&]<typename T>(T /*type*/) {
    reduce_values_of(op, static_cast<T*>(into), static_cast<const T*>(from), count);
  };
  switch (dtype) {
    case DType::kU8:
      return as(std::uint8_t{});
    case DType::kI8:
      return as(std::int8_t{});
    case DType::kU16:
      return as(std::uint16_t{});
    case DType::kI16:
      return as(std::int16_t{});
    case DType::kU32:
      return as(std::uint32_t{});
    case DType::kI32:
      return as(std::int32_t{});
    case DType::kU64:
      return as(std::uint64_t{});
    case DType::kI64:
      return as(std::int64_t{});
    case DType::kF32:
      return as(float{});
    case DType::kF64:
      return as(double{});
    default:
      invariant(false, "{} values cannot be reduced; convert them to float32 first", name_of(dtype));
  }
}

}  // namespace dormer::comm
