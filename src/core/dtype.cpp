#include "dormer/core/dtype.hpp"

#include <array>

#include "dormer/core/error.hpp"

namespace dormer {
namespace {

struct Entry {
  DType dtype;
  std::size_t size;
  std::string_view safetensors;
  std::string_view name;
};

constexpr std::array kEntries{
    Entry{DType::kBool, 1, "BOOL", "bool"},
    Entry{DType::kU8, 1, "U8", "uint8"},
    Entry{DType::kI8, 1, "I8", "int8"},
    Entry{DType::kU16, 2, "U16", "uint16"},
    Entry{DType::kI16, 2, "I16", "int16"},
    Entry{DType::kU32, 4, "U32", "uint32"},
    Entry{DType::kI32, 4, "I32", "int32"},
    Entry{DType::kU64, 8, "U64", "uint64"},
    Entry{DType::kI64, 8, "I64", "int64"},
    Entry{DType::kF8E4M3, 1, "F8_E4M3", "float8_e4m3"},
    Entry{DType::kF8E5M2, 1, "F8_E5M2", "float8_e5m2"},
    Entry{DType::kF16, 2, "F16", "float16"},
    Entry{DType::kBF16, 2, "BF16", "bfloat16"},
    Entry{DType::kF32, 4, "F32", "float32"},
    Entry{DType::kF64, 8, "F64", "float64"},
};

const Entry& entry(DType dtype) {
  for (const Entry& candidate : kEntries) {
    if (candidate.dtype == dtype) {
      return candidate;
    }
  }
  fail(Fault::kBug, "unknown dtype {}", static_cast<int>(dtype));
}

}  // namespace

std::size_t size_of(DType dtype) {
  return entry(dtype).size;
}
std::string_view safetensors_name(DType dtype) {
  return entry(dtype).safetensors;
}
std::string_view name_of(DType dtype) {
  return entry(dtype).name;
}

std::optional<DType> dtype_from_safetensors(std::string_view name) {
  for (const Entry& candidate : kEntries) {
    if (candidate.safetensors == name) {
      return candidate.dtype;
    }
  }
  return std::nullopt;
}

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const Entry& candidate : kEntries) {
    if (candidate.name == name) {
      return candidate.dtype;
    }
  }
  return std::nullopt;
}

}  // namespace dormer
