#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "dormer/core/dtype.hpp"

namespace dormer {

/// Typed memory that somebody else owns. `count` is in elements.
struct BufferView {
  void* data = nullptr;
  std::int64_t count = 0;
  DType dtype = DType::kU8;

  [[nodiscard]] std::size_t bytes() const { return static_cast<std::size_t>(count) * size_of(dtype); }
};

struct ConstBufferView {
  const void* data = nullptr;
  std::int64_t count = 0;
  DType dtype = DType::kU8;

  ConstBufferView() = default;
  ConstBufferView(const void* pointer, std::int64_t elements, DType type)
      : data(pointer), count(elements), dtype(type) {}
  // NOLINTNEXTLINE(google-explicit-constructor): what may be written may be read
  ConstBufferView(BufferView view) : data(view.data), count(view.count), dtype(view.dtype) {}
  [[nodiscard]] std::size_t bytes() const { return static_cast<std::size_t>(count) * size_of(dtype); }
};

inline BufferView view(std::span<float> values) {
  return {values.data(), static_cast<std::int64_t>(values.size()), DType::kF32};
}
inline BufferView view(std::span<double> values) {
  return {values.data(), static_cast<std::int64_t>(values.size()), DType::kF64};
}
inline BufferView view(std::span<std::int64_t> values) {
  return {values.data(), static_cast<std::int64_t>(values.size()), DType::kI64};
}
inline BufferView view(std::span<std::uint8_t> values) {
  return {values.data(), static_cast<std::int64_t>(values.size()), DType::kU8};
}
inline ConstBufferView view(std::span<const float> values) {
  return {values.data(), static_cast<std::int64_t>(values.size()), DType::kF32};
}
inline ConstBufferView view(std::span<const double> values) {
  return {values.data(), static_cast<std::int64_t>(values.size()), DType::kF64};
}
inline ConstBufferView view(std::span<const std::int64_t> values) {
  return {values.data(), static_cast<std::int64_t>(values.size()), DType::kI64};
}
inline ConstBufferView view(std::span<const std::uint8_t> values) {
  return {values.data(), static_cast<std::int64_t>(values.size()), DType::kU8};
}

}  // namespace dormer
