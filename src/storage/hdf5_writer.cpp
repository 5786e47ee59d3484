#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "dormer/core/error.hpp"
#include "dormer/storage/hdf5.hpp"
#include "storage/hdf5_handle.hpp"

namespace dormer::storage {
namespace {

constexpr std::size_t kGrowth = std::size_t{64} << 20;  // bytes by which the image grows
constexpr std::string_view kWhere = "an HDF5 file in memory";

// Where the core driver leaves its buffer when the file is closed.
struct Buffer {
  void* memory = nullptr;
};

extern "C" {
void* dormer_image_malloc(size_t size, H5FD_file_image_op_t, void*) {
  return std::malloc(size);
}
void* dormer_image_realloc(void* memory, size_t size, H5FD_file_image_op_t, void*) {
  return std::realloc(memory, size);
}
void* dormer_image_copy(void* to, const void* from, size_t size, H5FD_file_image_op_t, void*) {
  return std::memcpy(to, from, size);
}
herr_t dormer_image_free(void* memory, H5FD_file_image_op_t operation, void* buffer) {
  if (operation == H5FD_FILE_IMAGE_OP_FILE_CLOSE) {
    static_cast<Buffer*>(buffer)->memory = memory;
  } else {
    std::free(memory);
  }
  return 0;
}
void* dormer_buffer_copy(void* buffer) {
  return buffer;
}  // property lists share the one Buffer, which outlives them
herr_t dormer_buffer_free(void*) {
  return 0;
}
}

template <typename Status>
Status made(Status status, std::string_view action) {
  return checked(status, Fault::kBug, action, kWhere);
}

// The length of the file stands in its superblock (version 3: after signature, four bytes and two addresses). The
// buffer is longer: it grows in steps.
std::size_t length_of(const std::byte* image) {
  constexpr std::string_view kSignature("\x89HDF\r\n\x1a\n\x03\x08\x08", 11);  // version 3, 8-byte offsets and lengths
  invariant(std::memcmp(image, kSignature.data(), kSignature.size()) == 0,
            "HDF5 wrote a superblock that is not version 3");
  std::uint64_t length = 0;
  std::memcpy(&length, image + 28, sizeof(length));
  return length;
}

void write_attribute(hid_t object, const std::string& name, const Hdf5Attribute& value) {
  Hdf5Handle type;
  const void* data = nullptr;
  if (const auto* text = std::get_if<std::string>(&value)) {
    type = Hdf5Handle(made(H5Tcopy(H5T_C_S1), "make a string type in"));
    made(H5Tset_size(type.get(), std::max<std::size_t>(text->size(), 1)), "size a string type in");
    made(H5Tset_cset(type.get(), H5T_CSET_UTF8), "set the character set in");
    made(H5Tset_strpad(type.get(), H5T_STR_NULLPAD), "set the padding in");
    data = text->c_str();
  } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    type = stored_type(DType::kI64);
    data = integer;
  } else {
    type = stored_type(DType::kF64);
    data = &std::get<double>(value);
  }
  const Hdf5Handle space(made(H5Screate(H5S_SCALAR), "make a scalar in"));
  const Hdf5Handle attribute(
      made(H5Acreate2(object, name.c_str(), type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT), "add an attribute to"));
  made(H5Awrite(attribute.get(), type.get(), data), "write an attribute to");
}

Hdf5Handle make_space(const std::vector<std::int64_t>& shape) {
  if (shape.empty()) {
    return Hdf5Handle(made(H5Screate(H5S_SCALAR), "make a scalar in"));
  }
  const std::vector<hsize_t> dimensions(shape.begin(), shape.end());
  return Hdf5Handle(
      made(H5Screate_simple(static_cast<int>(dimensions.size()), dimensions.data(), nullptr), "make a shape in"));
}

}  // namespace

void Hdf5Image::Free::operator()(std::byte* memory) const {
  std::free(memory);
}

struct Hdf5Writer::State {
  Buffer buffer;  // first: outlives the file, whose closing fills it
  Hdf5Handle file;
  Hdf5Handle array_options;  // creation list of data sets
  Hdf5Handle group_options;

  ~State() {
    file = Hdf5Handle();
    std::free(buffer.memory);
  }
  void make_groups(const std::string& name) const;
};

// HDF5 can make missing groups by itself, but then with the time of day in them.
void Hdf5Writer::State::make_groups(const std::string& name) const {
  for (std::size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1)) {
    const std::string group = name.substr(0, slash);
    if (made(H5Lexists(file.get(), group.c_str(), H5P_DEFAULT), "look for a group in") == 0) {
      const Hdf5Handle added(
          made(H5Gcreate2(file.get(), group.c_str(), H5P_DEFAULT, group_options.get(), H5P_DEFAULT), "add a group to"));
    }
  }
}

Hdf5Writer::Hdf5Writer() : state_(std::make_unique<State>()) {
  const Hdf5Use use;
  const Hdf5Handle access(made(H5Pcreate(H5P_FILE_ACCESS), "make a list for"));
  made(H5Pset_fapl_core(access.get(), kGrowth, false), "choose the driver of");
  H5FD_file_image_callbacks_t callbacks{dormer_image_malloc, dormer_image_copy,  dormer_image_realloc,
                                        dormer_image_free,   dormer_buffer_copy, dormer_buffer_free,
                                        &state_->buffer};
  made(H5Pset_file_image_callbacks(access.get(), &callbacks), "set the callbacks of");
  made(H5Pset_libver_bounds(access.get(), H5F_LIBVER_V110, H5F_LIBVER_V110), "set the version of");
  made(H5Pset_alignment(access.get(), kAlignedFrom, kPage), "set the alignment of");

  const Hdf5Handle creation(made(H5Pcreate(H5P_FILE_CREATE), "make a list for"));
  made(H5Pset_obj_track_times(creation.get(), false), "switch times off in");
  state_->array_options = Hdf5Handle(made(H5Pcreate(H5P_DATASET_CREATE), "make a list for"));
  made(H5Pset_obj_track_times(state_->array_options.get(), false), "switch times off in");
  made(H5Pset_fill_time(state_->array_options.get(), H5D_FILL_TIME_NEVER), "switch filling off in");
  made(H5Pset_layout(state_->array_options.get(), H5D_CONTIGUOUS), "set the layout of");
  state_->group_options = Hdf5Handle(made(H5Pcreate(H5P_GROUP_CREATE), "make a list for"));
  made(H5Pset_obj_track_times(state_->group_options.get(), false), "switch times off in");
  static std::atomic<std::uint64_t> made_so_far{0};  // HDF5 knows files of memory by their names
  const std::string name = fmt::format("dormer-in-memory-{}.h5", made_so_far++);
  state_->file = Hdf5Handle(made(H5Fcreate(name.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()), "create"));
}

Hdf5Writer::~Hdf5Writer() = default;
Hdf5Writer::Hdf5Writer(Hdf5Writer&&) noexcept = default;
Hdf5Writer& Hdf5Writer::operator=(Hdf5Writer&&) noexcept = default;

void Hdf5Writer::set_attribute(const std::string& name, const Hdf5Attribute& value) {
  const Hdf5Use use;
  write_attribute(state_->file.get(), name, value);
}

void Hdf5Writer::add_array(const NamedArray& array, const Hdf5Attributes& attributes) {
  const Hdf5Use use;
  std::size_t bytes = size_of(array.dtype);
  for (const std::int64_t dimension : array.shape) {
    bytes *= static_cast<std::size_t>(dimension);
  }
  invariant(bytes == array.bytes.size(), "array '{}' has {} bytes where its shape needs {}", array.name,
            array.bytes.size(), bytes);
  state_->make_groups(array.name);
  const Hdf5Handle type = stored_type(array.dtype);
  const Hdf5Handle space = make_space(array.shape);
  const Hdf5Handle set(made(H5Dcreate2(state_->file.get(), array.name.c_str(), type.get(), space.get(), H5P_DEFAULT,
                                       state_->array_options.get(), H5P_DEFAULT),
                            "add '" + array.name + "' to"));
  if (!array.bytes.empty()) {
    made(H5Dwrite(set.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, array.bytes.data()), "write an array to");
  }
  write_attribute(set.get(), "dtype", std::string(safetensors_name(array.dtype)));
  for (const auto& [name, value] : attributes) {
    write_attribute(set.get(), name, value);
  }
}

Hdf5Image Hdf5Writer::finish() {
  const Hdf5Use use;
  // The image is taken at the close: before it, the superblock says "being written", and readers refuse that.
  invariant(state_->file.close() && state_->buffer.memory != nullptr, "cannot close {}: {}", kWhere, hdf5_reason());
  const std::size_t length = length_of(static_cast<const std::byte*>(state_->buffer.memory));
  return {std::exchange(state_->buffer.memory, nullptr), length};
}

}  // namespace dormer::storage
