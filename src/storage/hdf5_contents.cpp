#include "storage/hdf5_contents.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "storage/computed_apart.hpp"
#include "storage/shown_name.hpp"

namespace dormer::storage {
namespace {

constexpr std::size_t kMaximumNames = 1'000'000;
constexpr std::size_t kSmallestCache = std::size_t{1} << 20;
constexpr std::size_t kLargestCache = std::size_t{256} << 20;
constexpr hsize_t kMostCompressed = 1'100;  // gzip makes at most 1,032 bytes of one
constexpr hsize_t kAnyChunk = hsize_t{16} << 20;

template <typename Status>
Status readable(Status status, std::string_view action, const std::string& where) {
  return checked(status, Fault::kInput, action, where);
}

struct Links {
  std::vector<std::string> names;
  std::string foreign;  // a link that leaves the file
  bool too_many = false;
};

// Called by HDF5 for every link; throwing through its frames is not allowed.
extern "C" herr_t dormer_collect_link(hid_t, const char* name, const H5L_info_t* link, void* context) {
  auto& links = *static_cast<Links*>(context);
  if (link->type == H5L_TYPE_HARD) {
    links.too_many = links.names.size() == kMaximumNames;
    if (!links.too_many) {
      links.names.emplace_back(name);
    }
  } else if (link->type != H5L_TYPE_SOFT) {  // a soft link names something of this file again
    links.foreign = name;
  }
  return links.too_many || !links.foreign.empty() ? 1 : 0;
}

std::optional<DType> number_type(hid_t type) {
  const std::size_t size = H5Tget_size(type);
  switch (H5Tget_class(type)) {
    case H5T_INTEGER: {
      static constexpr std::array kSigned{DType::kI8, DType::kI16, DType::kI32, DType::kI64};
      static constexpr std::array kUnsigned{DType::kU8, DType::kU16, DType::kU32, DType::kU64};
      for (std::size_t power = 0; power < kSigned.size(); ++power) {
        if (size == std::size_t{1} << power) {
          return H5Tget_sign(type) == H5T_SGN_NONE ? kUnsigned.at(power) : kSigned.at(power);
        }
      }
      return std::nullopt;
    }
    case H5T_FLOAT:
      for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32, DType::kF64}) {
        const Hdf5Handle little = stored_type(dtype);
        const Hdf5Handle big = stored_type(dtype);
        H5Tset_order(big.get(), H5T_ORDER_BE);
        if (H5Tequal(type, little.get()) > 0 || H5Tequal(type, big.get()) > 0) {
          return dtype;
        }
      }
      return std::nullopt;
    case H5T_ENUM:  // how h5py stores booleans
      return size == 1 ? std::optional(DType::kBool) : std::nullopt;
    default:
      return std::nullopt;
  }
}

// Integers may carry a type that HDF5 does not have, named by our own attribute.
DType refined_type(DType stored, hid_t set, const std::string& where) {
  if (H5Aexists(set, "dtype") <= 0) {
    return stored;
  }
  const Hdf5Handle attribute(H5Aopen(set, "dtype", H5P_DEFAULT));
  const Hdf5Handle type(H5Aget_type(attribute.get()));
  if (H5Tget_class(type.get()) != H5T_STRING) {
    return stored;
  }
  const std::optional<DType> named = dtype_from_safetensors(read_string(set, "dtype", where).value_or(""));
  const bool small =
      stored == DType::kU8 && (named == DType::kBool || named == DType::kF8E4M3 || named == DType::kF8E5M2);
  const bool half = stored == DType::kU16 && (named == DType::kBF16 || named == DType::kF16);
  return small || half ? *named : stored;
}

void check_storage(hid_t file, hid_t set, const std::string& name, const std::string& where) {
  const Hdf5Handle options(readable(H5Dget_create_plist(set), "inspect '" + shown(name) + "' of", where));
  const H5D_layout_t layout = H5Pget_layout(options.get());
  require(layout != H5D_VIRTUAL && (layout != H5D_CONTIGUOUS || H5Pget_external_count(options.get()) == 0),
          Fault::kInput,
          "'{}' of {} lies in other files (virtual or external data), which is not read; copy it into one file",
          shown(name), where);
  hsize_t file_bytes = 0;
  readable(H5Fget_filesize(file, &file_bytes), "measure", where);
  require(layout != H5D_CONTIGUOUS || H5Dget_storage_size(set) <= file_bytes, Fault::kInput,
          "'{}' of {} needs {} bytes, more than the file holds; make it again", shown(name), where,
          H5Dget_storage_size(set));
  const int filters = H5Pget_nfilters(options.get());
  for (int index = 0; index < filters; ++index) {
    std::array<char, 64> label{};
    std::size_t values = 0;
    unsigned flags = 0;
    const H5Z_filter_t filter = H5Pget_filter2(options.get(), static_cast<unsigned>(index), &flags, &values, nullptr,
                                               label.size() - 1, label.data(), nullptr);
    require(filter >= 0 && H5Zfilter_avail(filter) > 0, Fault::kInput,
            "'{}' of {} is compressed with the filter {} '{}', which this HDF5 lacks; store it with gzip or without",
            shown(name), where, static_cast<int>(filter), shown(label.data()));
  }
}

std::vector<std::int64_t> shape_of(hid_t set, const std::string& name, DType dtype, const std::string& where) {
  const Hdf5Handle space(readable(H5Dget_space(set), "inspect '" + shown(name) + "' of", where));
  std::array<hsize_t, H5S_MAX_RANK> dimensions{};
  const int rank = readable(H5Sget_simple_extent_dims(space.get(), dimensions.data(), nullptr),
                            "inspect '" + shown(name) + "' of", where);
  std::vector<std::int64_t> shape;
  auto bytes = static_cast<std::int64_t>(size_of(dtype));
  for (int axis = 0; axis < rank; ++axis) {
    const hsize_t dimension = dimensions.at(static_cast<std::size_t>(axis));
    const bool sane =
        dimension <= static_cast<hsize_t>(std::numeric_limits<std::int64_t>::max()) &&
        !__builtin_mul_overflow(bytes, std::max<std::int64_t>(static_cast<std::int64_t>(dimension), 1), &bytes);
    require(sane, Fault::kInput, "'{}' of {} is larger than 2^63 bytes", shown(name), where);
    shape.push_back(static_cast<std::int64_t>(dimension));
  }
  return shape;
}

hsize_t chunk_bytes(hid_t options, std::size_t element, const std::string& where) {
  std::array<hsize_t, H5S_MAX_RANK> chunk{};
  const int rank = readable(H5Pget_chunk(options, H5S_MAX_RANK, chunk.data()), "inspect the chunks of", where);
  hsize_t bytes = element;
  for (int axis = 0; axis < rank; ++axis) {
    const bool overflows = __builtin_mul_overflow(bytes, chunk.at(static_cast<std::size_t>(axis)), &bytes);
    bytes = overflows ? std::numeric_limits<hsize_t>::max() : bytes;
  }
  return bytes;
}

// A large shape, or a large chunk, costs a file a few bytes, and whoever reads it memory and time: the data must be
// there.
void check_extent(hid_t file, hid_t set, const Hdf5Array& array, const std::string& where) {
  const Hdf5Handle options(readable(H5Dget_create_plist(set), "inspect '" + shown(array.name) + "' of", where));
  hsize_t file_bytes = 0;
  readable(H5Fget_filesize(file, &file_bytes), "measure", where);
  const bool chunked = H5Pget_layout(options.get()) == H5D_CHUNKED;
  const hsize_t factor = chunked && H5Pget_nfilters(options.get()) > 0 ? kMostCompressed : 1;
  const hsize_t stored = std::min(H5Dget_storage_size(set), file_bytes);
  const hsize_t bytes = static_cast<hsize_t>(array.count()) * size_of(array.dtype);
  require(bytes <= stored * factor, Fault::kInput,
          "'{}' of {} has the shape of {} bytes, but only {} are stored: it is not all there; make it again",
          shown(array.name), where, bytes, stored);
  if (chunked) {
    const hsize_t chunk = chunk_bytes(options.get(), size_of(array.dtype), where);
    // Each chunk that is stored has an entry of eight bytes or more in the file's index of them.
    require(bytes / std::max<hsize_t>(chunk, 1) <= file_bytes / 8 + 1, Fault::kInput,
            "'{}' of {} has more chunks than a file of {} bytes can name; make it again", shown(array.name), where,
            file_bytes);
    require(chunk <= std::max(kAnyChunk, file_bytes * factor), Fault::kInput,
            "'{}' of {} has chunks of {} bytes in a file of {}; store it in smaller ones", shown(array.name), where,
            chunk, file_bytes);
  }
}

// Opens with a cache that holds some chunks: else each range read would decompress whole chunks again.
Hdf5Handle open_with_cache(hid_t file, const std::string& name, const std::string& where) {
  Hdf5Handle set(readable(H5Dopen2(file, name.c_str(), H5P_DEFAULT), "open '" + shown(name) + "' of", where));
  const Hdf5Handle options(readable(H5Dget_create_plist(set.get()), "inspect '" + shown(name) + "' of", where));
  std::array<hsize_t, H5S_MAX_RANK> chunk{};
  if (H5Pget_layout(options.get()) != H5D_CHUNKED) {
    return set;
  }
  const int rank = readable(H5Pget_chunk(options.get(), H5S_MAX_RANK, chunk.data()), "inspect the chunks of", where);
  const Hdf5Handle type(readable(H5Dget_type(set.get()), "inspect '" + shown(name) + "' of", where));
  std::size_t bytes = 4 * H5Tget_size(type.get());
  for (int axis = 0; axis < rank && bytes < kLargestCache; ++axis) {
    bytes *= static_cast<std::size_t>(chunk.at(static_cast<std::size_t>(axis)));
  }
  const Hdf5Handle access(readable(H5Pcreate(H5P_DATASET_ACCESS), "make a list for", where));
  constexpr std::size_t kSlots = 10'007;
  readable(H5Pset_chunk_cache(access.get(), kSlots, std::clamp(bytes, kSmallestCache, kLargestCache),
                              H5D_CHUNK_CACHE_W0_DEFAULT),
           "set the chunk cache of", where);
  return Hdf5Handle(readable(H5Dopen2(file, name.c_str(), access.get()), "open '" + shown(name) + "' of", where));
}

}  // namespace

std::vector<std::string> data_set_names(hid_t file, const std::string& where) {
  Links links;
  readable(H5Lvisit(file, H5_INDEX_NAME, H5_ITER_NATIVE, dormer_collect_link, &links), "list the contents of", where);
  require(links.foreign.empty(), Fault::kInput,
          "'{}' of {} is a link into another file, which is not followed; copy it "
          "into one file",
          shown(links.foreign), where);
  require(!links.too_many, Fault::kInput, "{} has more than {} objects", where, kMaximumNames);
  std::vector<std::string> names;
  for (std::string& name : links.names) {
    const Hdf5Handle object(readable(H5Oopen(file, name.c_str(), H5P_DEFAULT), "open '" + shown(name) + "' of", where));
    if (H5Iget_type(object.get()) == H5I_DATASET) {
      names.push_back(std::move(name));
    }
  }
  std::ranges::sort(names);
  return names;
}

std::optional<std::pair<Hdf5Array, OpenArray>> open_array(hid_t file, const std::string& name,
                                                          const std::string& where) {
  OpenArray open{.set = open_with_cache(file, name, where), .memory_type = {}};
  Hdf5Handle type(readable(H5Dget_type(open.set.get()), "inspect '" + shown(name) + "' of", where));
  const Hdf5Handle space(readable(H5Dget_space(open.set.get()), "inspect '" + shown(name) + "' of", where));
  const std::optional<DType> stored = number_type(type.get());
  if (!stored || H5Sget_simple_extent_type(space.get()) == H5S_NULL) {
    return std::nullopt;
  }
  check_storage(file, open.set.get(), name, where);
  Hdf5Array array{.name = name, .dtype = refined_type(*stored, open.set.get(), where), .shape = {}};
  array.shape = shape_of(open.set.get(), name, array.dtype, where);
  check_extent(file, open.set.get(), array, where);
  // Booleans of h5py are read in their own type; everything else in ours, so that HDF5 sets the byte order right.
  open.memory_type = H5Tget_class(type.get()) == H5T_ENUM ? std::move(type) : stored_type(*stored);
  return std::pair(std::move(array), std::move(open));
}

namespace {

// Called by HDF5 for every attribute.
extern "C" herr_t dormer_open_attribute(hid_t object, const char* name, const H5A_info_t* /*facts*/, void* /*data*/) {
  const Hdf5Handle attribute(H5Aopen(object, name, H5P_DEFAULT));
  const Hdf5Handle type(H5Aget_type(attribute.get()));
  const Hdf5Handle space(H5Aget_space(attribute.get()));
  return attribute.valid() && type.valid() && space.valid() ? 0 : -1;
}

struct OpenAttribute {
  Hdf5Handle attribute;
  Hdf5Handle type;
};

std::optional<OpenAttribute> open_attribute(hid_t object, const std::string& name, const std::string& where) {
  if (readable(H5Aexists(object, name.c_str()), "look for the attribute '" + name + "' of", where) == 0) {
    return std::nullopt;
  }
  OpenAttribute open;
  open.attribute =
      Hdf5Handle(readable(H5Aopen(object, name.c_str(), H5P_DEFAULT), "open the attribute '" + name + "' of", where));
  open.type = Hdf5Handle(readable(H5Aget_type(open.attribute.get()), "inspect the attribute '" + name + "' of", where));
  const Hdf5Handle space(
      readable(H5Aget_space(open.attribute.get()), "inspect the attribute '" + name + "' of", where));
  require(H5Sget_simple_extent_npoints(space.get()) == 1, Fault::kInput,
          "the attribute '{}' of {} is not a single value", name, where);
  return open;
}

/// Strings of variable length lie in heaps without checksums, which HDF5 1.10 believes: a damaged one crashes it, or
/// holds it for ever. So a child reads them.
std::string read_variable_string(hid_t attribute, hid_t type, const std::string& name, const std::string& where) {
  constexpr unsigned kMilliseconds = 250;
  std::optional<std::string> read = computed_apart(
      [&] {
        char* text = nullptr;
        readable(H5Aread(attribute, type, &text), "read", where);
        return std::string(text == nullptr ? "" : text);
      },
      kMilliseconds);
  require(
      read.has_value(), Fault::kInput,
      "cannot read the attribute '{}' of {}: HDF5 fails on its string of variable length; the file is damaged, make "
      "it again, best with a fixed length",
      name, where);
  return *std::move(read);
}

}  // namespace

void look_at_attributes(hid_t object, const std::string& where) {
  readable(H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_NATIVE, nullptr, dormer_open_attribute, nullptr),
           "look at the attributes of", where);
}

std::optional<std::string> read_string(hid_t object, const std::string& name, const std::string& where) {
  const std::optional<OpenAttribute> open = open_attribute(object, name, where);
  if (!open) {
    return std::nullopt;
  }
  const hid_t type = open->type.get();
  require(H5Tget_class(type) == H5T_STRING, Fault::kInput, "the attribute '{}' of {} is not a string", name, where);
  const std::string action = "read the attribute '" + name + "' of";
  if (H5Tis_variable_str(type) > 0) {
    return read_variable_string(open->attribute.get(), type, name, where);
  }
  const std::size_t size = H5Tget_size(type);
  require(size <= kSmallestCache * 16, Fault::kInput, "the attribute '{}' of {} is {} bytes long", name, where, size);
  std::string text(size, '\0');
  readable(H5Aread(open->attribute.get(), type, text.data()), action, where);
  const bool terminated = H5Tget_strpad(type) == H5T_STR_NULLTERM;
  const char padding = H5Tget_strpad(type) == H5T_STR_SPACEPAD ? ' ' : '\0';
  text.resize(terminated ? std::min(text.find('\0'), size) : text.find_last_not_of(padding) + 1);
  return text;
}

std::optional<std::int64_t> read_integer(hid_t object, const std::string& name, const std::string& where) {
  const std::optional<OpenAttribute> open = open_attribute(object, name, where);
  if (!open) {
    return std::nullopt;
  }
  require(H5Tget_class(open->type.get()) == H5T_INTEGER, Fault::kInput, "the attribute '{}' of {} is not an integer",
          name, where);
  std::int64_t value = 0;
  readable(H5Aread(open->attribute.get(), H5T_NATIVE_INT64, &value), "read the attribute '" + name + "' of", where);
  return value;
}

std::optional<double> read_real(hid_t object, const std::string& name, const std::string& where) {
  const std::optional<OpenAttribute> open = open_attribute(object, name, where);
  if (!open) {
    return std::nullopt;
  }
  const H5T_class_t kind = H5Tget_class(open->type.get());
  require(kind == H5T_FLOAT || kind == H5T_INTEGER, Fault::kInput, "the attribute '{}' of {} is not a number", name,
          where);
  double value = 0.0;
  readable(H5Aread(open->attribute.get(), H5T_NATIVE_DOUBLE, &value), "read the attribute '" + name + "' of", where);
  return value;
}

}  // namespace dormer::storage
