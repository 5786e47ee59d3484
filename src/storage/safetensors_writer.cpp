#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <string_view>
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
  std::set<std::string_view> names;
  for (const NamedArray& array : arrays) {
    invariant(names.insert(array.name).second, "two arrays are called '{}'", array.name);
  }
  std::ranges::sort(result, [](const NamedArray* a, const NamedArray* b) {
    return a->dtype != b->dtype ? order_of(a->dtype) > order_of(b->dtype) : a->name < b->name;
  });
  return result;
}

/// Length and text of the header, for arrays in the order of the file.
std::vector<std::byte> header_of(const std::vector<const NamedArray*>& ordered, const Metadata& metadata) {
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
  std::string text = fmt::format("{{{}}}", fmt::join(members, ","));
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::vector<std::byte> header(8 + text.size());
  const std::uint64_t length = text.size();
  std::memcpy(header.data(), &length, 8);
  std::memcpy(header.data() + 8, text.data(), text.size());
  return header;
}

}  // namespace

std::vector<std::byte> serialize_safetensors(std::span<const NamedArray> arrays, const Metadata& metadata) {
  const std::vector<const NamedArray*> ordered = in_file_order(arrays);
  std::vector<std::byte> file = header_of(ordered, metadata);
  for (const NamedArray* array : ordered) {
    file.insert(file.end(), array->bytes.begin(), array->bytes.end());
  }
  return file;
}

void write_safetensors(const std::filesystem::path& path, std::span<const NamedArray> arrays,
                       const Metadata& metadata) {
  const std::vector<const NamedArray*> ordered = in_file_order(arrays);
  const std::vector<std::byte> header = header_of(ordered, metadata);
  std::vector<std::span<const std::byte>> pieces{header};
  for (const NamedArray* array : ordered) {
    pieces.push_back(array->bytes);
  }
  write_pieces_atomically(path, pieces);
}

}  // namespace dormer::storage
