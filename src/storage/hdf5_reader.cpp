#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <unistd.h>

#include "dormer/core/error.hpp"
#include "dormer/storage/hdf5.hpp"
#include "storage/computed_apart.hpp"
#include "storage/hdf5_contents.hpp"

namespace dormer::storage {

std::int64_t Hdf5Array::count() const {
  std::int64_t elements = 1;
  for (const std::int64_t dimension : shape) {
    elements *= dimension;
  }
  return elements;
}

struct Hdf5Reader::State {
  std::string where;  // "data set runs/train.h5"
  Hdf5Handle file;
  std::vector<Hdf5Array> arrays;
  std::vector<OpenArray> open;  // of the same index

  [[nodiscard]] const OpenArray& of(const Hdf5Array& array) const {
    const auto place = std::ranges::lower_bound(arrays, array.name, {}, &Hdf5Array::name);
    invariant(place != arrays.end() && place->name == array.name, "no array '{}' in {}", array.name, where);
    return open.at(static_cast<std::size_t>(place - arrays.begin()));
  }
  /// Calls `read` with the array, or with the file where no array is named.
  template <typename Read>
  auto attribute(const std::string& array, Read&& read) const {
    const Hdf5Use use;
    const Hdf5Array* found = nullptr;
    if (!array.empty()) {
      const auto place = std::ranges::lower_bound(arrays, array, {}, &Hdf5Array::name);
      require(place != arrays.end() && place->name == array, Fault::kInput, "{} has no array '{}'", where, array);
      found = &*place;
    }
    return read(found == nullptr ? file.get() : of(*found).set.get(), where);
  }
};

Hdf5Reader::Hdf5Reader() : state_(std::make_unique<State>()) {}
Hdf5Reader::~Hdf5Reader() = default;
Hdf5Reader::Hdf5Reader(Hdf5Reader&&) noexcept = default;
Hdf5Reader& Hdf5Reader::operator=(Hdf5Reader&&) noexcept = default;

Hdf5Reader Hdf5Reader::open(const std::filesystem::path& path, std::string_view what) {
  const Hdf5Use use;
  std::error_code code;
  require(std::filesystem::exists(path, code), Fault::kInput, "{} not found: {}; check the path", what, path.string());
  require(std::filesystem::is_regular_file(path, code), Fault::kInput, "{} is not a regular file: {}", what,
          path.string());
  require(::access(path.c_str(), R_OK) == 0, Fault::kIo, "cannot open {} {}: {}", what, path.string(),
          std::strerror(errno));

  Hdf5Reader reader;
  State& state = *reader.state_;
  state.where = fmt::format("{} {}", what, path.string());
  const Hdf5Handle access(checked(H5Pcreate(H5P_FILE_ACCESS), Fault::kBug, "make a list for", state.where));
  // Files that we read do not change; locks would only fail on network file systems.
  checked(H5Pset_file_locking(access.get(), false, true), Fault::kBug, "switch locking off for", state.where);
  state.file = Hdf5Handle(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()));
  require(state.file.valid(), Fault::kInput, "{} is not a whole HDF5 file ({}); make it again", state.where,
          hdf5_reason());
  for (const std::string& name : data_set_names(state.file.get(), state.where)) {
    if (auto opened = open_array(state.file.get(), name, state.where)) {
      state.arrays.push_back(std::move(opened->first));
      state.open.push_back(std::move(opened->second));
    }
  }
  return reader;
}

Hdf5Reader Hdf5Reader::open_foreign(const std::filesystem::path& path, std::string_view what) {
  constexpr unsigned kMilliseconds = 10'000;
  const Hdf5Use use;
  const auto opened = [&] {
    try {
      const Hdf5Reader reader = open(path, what);
      look_at_attributes(reader.state_->file.get(), reader.state_->where);
      for (const OpenArray& array : reader.state_->open) {
        look_at_attributes(array.set.get(), reader.state_->where);
      }
    } catch (const Error&) {  // this process says it
    }
    return std::string();
  };
  require(computed_apart(opened, kMilliseconds).has_value(), Fault::kInput,
          "{} {} is damaged: HDF5 fails on its structure; make it again", what, path.string());
  return open(path, what);
}

const std::vector<Hdf5Array>& Hdf5Reader::arrays() const {
  return state_->arrays;
}

const Hdf5Array* Hdf5Reader::find(std::string_view name) const {
  const auto place = std::ranges::lower_bound(state_->arrays, name, {},
                                              [](const Hdf5Array& array) -> std::string_view { return array.name; });
  return place != state_->arrays.end() && place->name == name ? &*place : nullptr;
}

void Hdf5Reader::read(const Hdf5Array& array, std::span<std::byte> into) const {
  const Hdf5Use use;
  const OpenArray& open = state_->of(array);
  const std::size_t bytes = static_cast<std::size_t>(array.count()) * size_of(array.dtype);
  invariant(into.size() == bytes, "'{}' of {} needs {} bytes, given {}", array.name, state_->where, bytes, into.size());
  if (bytes == 0) {
    return;
  }
  checked(H5Dread(open.set.get(), open.memory_type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, into.data()), Fault::kInput,
          "read '" + array.name + "' of", state_->where);
}

void Hdf5Reader::read_range(const Hdf5Array& array, std::int64_t begin, std::int64_t end,
                            std::span<std::byte> into) const {
  const Hdf5Use use;
  const OpenArray& open = state_->of(array);
  invariant(array.shape.size() == 1 && 0 <= begin && begin <= end && end <= array.shape.front(),
            "range {} to {} of '{}' of {} is not in it", begin, end, array.name, state_->where);
  const auto count = static_cast<hsize_t>(end - begin);
  invariant(into.size() == count * size_of(array.dtype), "{} elements of '{}' do not fit {} bytes", count, array.name,
            into.size());
  if (count == 0) {
    return;
  }
  const std::string action = "read '" + array.name + "' of";
  const Hdf5Handle memory(checked(H5Screate_simple(1, &count, nullptr), Fault::kBug, action, state_->where));
  const Hdf5Handle file(checked(H5Dget_space(open.set.get()), Fault::kInput, action, state_->where));
  const auto start = static_cast<hsize_t>(begin);
  checked(H5Sselect_hyperslab(file.get(), H5S_SELECT_SET, &start, nullptr, &count, nullptr), Fault::kBug, action,
          state_->where);
  checked(H5Dread(open.set.get(), open.memory_type.get(), memory.get(), file.get(), H5P_DEFAULT, into.data()),
          Fault::kInput, action, state_->where);
}

std::optional<std::string> Hdf5Reader::string_attribute(const std::string& name, const std::string& array) const {
  return state_->attribute(array,
                           [&](hid_t object, const std::string& where) { return read_string(object, name, where); });
}

std::optional<std::int64_t> Hdf5Reader::integer_attribute(const std::string& name, const std::string& array) const {
  return state_->attribute(array,
                           [&](hid_t object, const std::string& where) { return read_integer(object, name, where); });
}

std::optional<double> Hdf5Reader::real_attribute(const std::string& name, const std::string& array) const {
  return state_->attribute(array,
                           [&](hid_t object, const std::string& where) { return read_real(object, name, where); });
}

}  // namespace dormer::storage
