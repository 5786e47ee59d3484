#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/storage/safetensors.hpp"

namespace dormer::storage {
namespace {

// The reference writer puts dtypes in the reverse of this order (its own list, so that equal content gives equal
// files).
constexpr std::array kReferenceOrder{DType::kBool, DType::kU8,  DType::kI8,  DType::kF8E5M2, DType::kF8E4M3,
                                     DType::kI16,  DType::kU16, DType::kF16, DType::kBF16,   DType::kI32,
                                     DType::kU32,  DType::kF32, DType::kF64, DType::kI64,    DType::kU64};

std::ptrdiff_t order_of(DType dtype) {
  return std::ranges::find(kReferenceOrder, dtype) - kReferenceOrder.begin();
}

std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump();
}

std::vector<const NamedArray*> in_file_order(std::span<const NamedArray> arrays) {
  std::vector<const NamedArray*> result;
  for (const NamedArray& array : arrays) {
    std::size_t bytes = size_of(array.dtype);
    for (const std::int64_t dimension : array.shape) {
      bytes *= static_cast<std::size_t>(dimension);
    }
    invariant(bytes == array.bytes.size(), "array '{}' has {} bytes where its shape [{}] needs {}", array.name,
              array.bytes.size(), fmt::join(array.shape, ", "), bytes);
    result.push_back(&array);
  }
  std::ranges::sort(result, [](const NamedArray* a, const NamedArray* b) {
    return a->dtype != b->dtype ? order_of(a->dtype) > order_of(b->dtype) : a->name < b->name;
  });
  return result;
}

}  // namespace

std::vector<std::byte> serialize_safetensors(std::span<const NamedArray> arrays, const Metadata& metadata) {
  const std::vector<const NamedArray*> ordered = in_file_order(arrays);
  std::vector<std::string> members;
  if (!metadata.empty()) {
    std::vector<std::string> pairs;
    for (const auto& [key, value] : metadata) {
      pairs.push_back(quoted(key) + ":" + quoted(value));
    }
    members.push_back(fmt::format("\"__metadata__\":{{{}}}", fmt::join(pairs, ",")));
  }
  std::size_t position = 0;
  for (const NamedArray* array : ordered) {
    const std::size_t end = position + array->bytes.size();
    members.push_back(fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", quoted(array->name),
                                  safetensors_name(array->dtype), fmt::join(array->shape, ","), position, end));
    position = end;
  }
  std::string header = fmt::format("{{{}}}", fmt::join(members, ","));
  header.resize((header.size() + 7) / 8 * 8, ' ');

  std::vector<std::byte> file(8 + header.size() + position);
  const std::uint64_t length = header.size();
  std::memcpy(file.data(), &length, 8);
  std::memcpy(file.data() + 8, header.data(), header.size());
  std::byte* out = file.data() + 8 + header.size();
  for (const NamedArray* array : ordered) {
    out = std::ranges::copy(array->bytes, out).out;
  }
  // Duplicate names and the like are found here, before anything is on disk.
  invariant(parse_safetensors(file, "in memory").tensors.size() == arrays.size(),
            "our reader does not read our writer");
  return file;
}

void write_safetensors(const std::filesystem::path& path, std::span<const NamedArray> arrays,
                       const Metadata& metadata) {
  write_file_atomically(path, serialize_safetensors(arrays, metadata));
}

}  // namespace dormer::storage
