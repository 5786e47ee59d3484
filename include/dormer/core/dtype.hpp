#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace dormer {

/// Element types of arrays in memory and in files. Names are those of safetensors.
enum class DType : std::uint8_t {
  kBool,
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kU64,
  kI64,
  kF8E4M3,
  kF8E5M2,
  kF16,
  kBF16,
  kF32,
  kF64
};

/// Bytes of one element.
[[nodiscard]] std::size_t size_of(DType dtype);

/// "F32", "BF16", …
[[nodiscard]] std::string_view safetensors_name(DType dtype);
[[nodiscard]] std::optional<DType> dtype_from_safetensors(std::string_view name);

/// "float32", "bfloat16", … as in configurations.
[[nodiscard]] std::string_view name_of(DType dtype);
[[nodiscard]] std::optional<DType> dtype_from_name(std::string_view name);

}  // namespace dormer
