#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include <nlohmann/json.hpp>

#include "dormer/core/error.hpp"
#include "dormer/storage/safetensors.hpp"
#include "storage/shown_name.hpp"

namespace dormer::storage {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kPrefixBytes = 8;
constexpr std::uint64_t kMaximumHeaderBytes = 100'000'000;
constexpr std::size_t kMaximumTensors = 1'000'000;
constexpr std::size_t kMaximumNameBytes = 1'024;
constexpr std::size_t kMaximumRank = 16;
constexpr int kMaximumDepth = 4;

template <typename... Args>
[[noreturn]] void refuse(std::string_view where, fmt::format_string<Args...> format, Args&&... args) {
  fail(Fault::kInput, "bad safetensors file {}: {}; download or export it again", where,
       fmt::format(format, std::forward<Args>(args)...));
}

// Reads the JSON event by event: what is not expected is refused where it stands, and nothing is built for it.
class HeaderReader final : public nlohmann::json_sax<Json> {
 public:
  HeaderReader(std::string_view where, SafetensorsHeader& header) : where_(where), header_(header) {}

  bool null() override {
    // The reference reads "__metadata__": null as no metadata.
    if (depth_ == 1 && place_ == Place::kMetadata) {
      return true;
    }
    return other("null");
  }
  bool boolean(bool) override { return other("true or false"); }
  bool number_integer(number_integer_t) override { return other("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return other("a number that is no 64-bit integer"); }
  bool binary(binary_t&) override { return other("binary data"); }

  bool number_unsigned(number_unsigned_t number) override {
    if (depth_ != 3 || field_ == Field::kOther) {
      return other("a number");
    }
    if (field_ == Field::kShape) {
      if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        refuse(where_, "tensor '{}' has a dimension of {}", shown(entry_.name), number);
      }
      if (entry_.shape.size() == kMaximumRank) {
        refuse(where_, "tensor '{}' has more than {} dimensions", shown(entry_.name), kMaximumRank);
      }
      entry_.shape.push_back(static_cast<std::int64_t>(number));
    } else {
      if (offsets_ == 2) {
        refuse(where_, "tensor '{}' has more than two data_offsets", shown(entry_.name));
      }
      (offsets_ == 0 ? entry_.begin : entry_.end) = number;
      ++offsets_;
    }
    return true;
  }

  bool string(string_t& text) override {
    if (depth_ == 2 && place_ == Place::kMetadata) {
      header_.metadata[key_] = text;
      return true;
    }
    if (depth_ == 2 && place_ == Place::kTensor && field_ == Field::kDtype) {
      const std::optional<DType> dtype = dtype_from_safetensors(text);
      if (!dtype) {
        refuse(where_, "tensor '{}' has the dtype '{}', which we do not know", shown(entry_.name), shown(text));
      }
      entry_.dtype = *dtype;
      return true;
    }
    return other("a string");
  }

  bool start_object(std::size_t) override {
    const bool expected = depth_ == 0 || depth_ == 1 || (place_ == Place::kTensor && field_ == Field::kOther);
    if (!expected) {
      other("an object");
    }
    deeper();
    return true;
  }

  bool start_array(std::size_t) override {
    const bool list = depth_ == 2 && (field_ == Field::kShape || field_ == Field::kOffsets);
    const bool ignored = depth_ >= 2 && field_ == Field::kOther;
    if (place_ != Place::kTensor || !(list || ignored)) {
      other("an array");
    }
    deeper();
    return true;
  }

  bool key(string_t& name) override {
    if (depth_ == 1) {
      start_member(name);
    } else if (depth_ == 2 && place_ == Place::kMetadata) {
      if (header_.metadata.contains(name)) {
        refuse(where_, "metadata key '{}' stands twice", shown(name));
      }
      key_ = name;
    } else if (depth_ == 2) {
      start_field(name);
    }
    return true;
  }

  bool end_object() override {
    --depth_;
    if (depth_ == 1 && place_ == Place::kTensor) {
      finish_tensor();
    }
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    refuse(where_, "its header is not JSON near byte {}", kPrefixBytes + position);
  }

 private:
  enum class Place { kNowhere, kMetadata, kTensor };
  enum class Field { kNone, kDtype, kShape, kOffsets, kOther };

  // A value where the format has no place for it: fatal, except inside of a field that we do not know.
  bool other(std::string_view what) {
    if (place_ == Place::kTensor && field_ == Field::kOther && depth_ >= 2) {
      return true;
    }
    if (depth_ <= 1) {
      refuse(where_, "its header holds {} where an object is due", what);
    }
    refuse(where_, "{} has {} where the format does not allow it",
           place_ == Place::kMetadata ? std::string("__metadata__") : "tensor '" + shown(entry_.name) + "'", what);
  }

  void deeper() {
    if (++depth_ > kMaximumDepth) {
      refuse(where_, "its header nests deeper than {} levels", kMaximumDepth);
    }
  }

  void start_member(const std::string& name) {
    field_ = Field::kNone;
    if (name == "__metadata__") {
      if (std::exchange(metadata_seen_, true)) {
        refuse(where_, "__metadata__ stands twice");
      }
      place_ = Place::kMetadata;
      return;
    }
    if (name.size() > kMaximumNameBytes || name.find('\0') != std::string::npos) {
      refuse(where_, "the tensor name '{}' is longer than {} bytes or holds a NUL", shown(name), kMaximumNameBytes);
    }
    if (header_.tensors.size() == kMaximumTensors) {
      refuse(where_, "it has more than {} tensors", kMaximumTensors);
    }
    place_ = Place::kTensor;
    entry_ = TensorEntry{};
    entry_.name = name;
    offsets_ = 0;
    dtype_seen_ = shape_seen_ = offsets_seen_ = false;
  }

  void start_field(const std::string& name) {
    const auto once = [&](bool& seen, Field field) {
      if (std::exchange(seen, true)) {
        refuse(where_, "tensor '{}' has the field {} twice", shown(entry_.name), name);
      }
      field_ = field;
    };
    if (name == "dtype") {
      once(dtype_seen_, Field::kDtype);
    } else if (name == "shape") {
      once(shape_seen_, Field::kShape);
    } else if (name == "data_offsets") {
      once(offsets_seen_, Field::kOffsets);
    } else {
      field_ = Field::kOther;  // the reference ignores fields that it does not know, and so do we
    }
  }

  void finish_tensor() {
    if (!dtype_seen_ || !shape_seen_ || !offsets_seen_ || offsets_ != 2) {
      refuse(where_, "tensor '{}' lacks its dtype, shape or two data_offsets", shown(entry_.name));
    }
    header_.tensors.push_back(std::move(entry_));
    place_ = Place::kNowhere;
  }

  std::string_view where_;
  SafetensorsHeader& header_;
  int depth_ = 0;
  Place place_ = Place::kNowhere;
  Field field_ = Field::kNone;
  std::string key_;
  TensorEntry entry_;
  int offsets_ = 0;
  bool metadata_seen_ = false;
  bool dtype_seen_ = false;
  bool shape_seen_ = false;
  bool offsets_seen_ = false;
};

// Bytes of a tensor. The product of the other dimensions must be sane even beside a zero, because strides are made of
// it.
std::uint64_t byte_count(const TensorEntry& entry, std::string_view where) {
  std::int64_t bytes = static_cast<std::int64_t>(size_of(entry.dtype));
  bool empty = false;
  for (const std::int64_t dimension : entry.shape) {
    empty = empty || dimension == 0;
    if (__builtin_mul_overflow(bytes, std::max<std::int64_t>(dimension, 1), &bytes)) {
      refuse(where, "tensor '{}' is larger than 2^63 bytes", shown(entry.name));
    }
  }
  return empty ? 0 : static_cast<std::uint64_t>(bytes);
}

// Offsets must tile the data: from 0, each where the last one ended, up to the end of the file.
void check_cover(const std::vector<TensorEntry>& tensors, std::uint64_t data_bytes, std::string_view where) {
  std::vector<const TensorEntry*> by_offset;
  by_offset.reserve(tensors.size());
  for (const TensorEntry& entry : tensors) {
    if (entry.end < entry.begin || entry.end - entry.begin != byte_count(entry, where)) {
      refuse(where, "tensor '{}' spans bytes {} to {}, which is not what its shape and dtype need", shown(entry.name),
             entry.begin, entry.end);
    }
    by_offset.push_back(&entry);
  }
  std::ranges::sort(by_offset, [](const TensorEntry* a, const TensorEntry* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  std::uint64_t position = 0;
  for (const TensorEntry* entry : by_offset) {
    if (entry->begin != position) {
      refuse(where, "tensor '{}' begins at byte {} of the data, but {} bytes lie before it", shown(entry->name),
             entry->begin, position);
    }
    position = entry->end;
  }
  if (position != data_bytes) {
    refuse(where, "its header describes {} bytes of data, but the file holds {} ({})", position, data_bytes,
           position > data_bytes ? "it is truncated" : "it has a tail");
  }
}

std::uint64_t header_length(std::span<const std::byte> file, std::string_view where) {
  if (file.size() < kPrefixBytes) {
    refuse(where, "it has {} bytes, fewer than the {} of the smallest prefix", file.size(), kPrefixBytes);
  }
  static_assert(std::endian::native == std::endian::little);
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), kPrefixBytes);
  if (length > kMaximumHeaderBytes) {
    const std::string_view start(reinterpret_cast<const char*>(file.data()), kPrefixBytes);
    require(start != "version ", Fault::kInput, "{} is a Git LFS pointer, not the file itself; run 'git lfs pull'",
            where);
    require(!start.starts_with("PK\x03\x04"), Fault::kInput,
            "{} is a pickled PyTorch file, which can run code; convert it to safetensors", where);
    refuse(where, "its header would be {} bytes long, above the limit of {}", length, kMaximumHeaderBytes);
  }
  if (length > file.size() - kPrefixBytes) {
    refuse(where, "its header would end {} bytes behind the end of the file (it is truncated)",
           length - (file.size() - kPrefixBytes));
  }
  return length;
}

}  // namespace

SafetensorsHeader parse_safetensors(std::span<const std::byte> file, std::string_view where) {
  const std::uint64_t length = header_length(file, where);
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kPrefixBytes, length);
  if (!text.starts_with('{')) {
    refuse(where, "its header does not begin with '{{'");
  }
  if (text.find('\0') != std::string_view::npos) {  // the JSON library would take it for the end of the text
    refuse(where, "its header holds a NUL byte");
  }
  SafetensorsHeader header;
  header.data_begin = kPrefixBytes + length;
  HeaderReader reader(where, header);
  if (!Json::sax_parse(text.begin(), text.end(), &reader)) {
    refuse(where, "its header is not JSON");
  }
  std::ranges::sort(header.tensors, {}, &TensorEntry::name);
  const auto twice = std::ranges::adjacent_find(header.tensors, {}, &TensorEntry::name);
  if (twice != header.tensors.end()) {
    refuse(where, "tensor '{}' stands twice", shown(twice->name));
  }
  check_cover(header.tensors, file.size() - header.data_begin, where);
  return header;
}

}  // namespace dormer::storage
