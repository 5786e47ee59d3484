#include "dormer/cache/array_store.hpp"

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <set>
#include <utility>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/storage/checksum.hpp"
#include "dormer/storage/hdf5.hpp"

namespace dormer::cache {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFormat = "dormer.arrays/1";
constexpr std::string_view kWhat = "a file of a cache";
constexpr std::size_t kOpenFiles = 16;

storage::Hdf5Reader open_checked(const fs::path& path) {
  storage::Hdf5Reader file = storage::Hdf5Reader::open(path, kWhat);
  const std::optional<std::string> format = file.string_attribute("format");
  require(format == kFormat, Fault::kInput, "{} is no file of a cache (format {}, not {})", path.string(),
          format.value_or("none"), kFormat);
  return file;
}

std::string dataset(const std::string& key, std::string_view name) {
  return fmt::format("{}/{}", key, name);
}

}  // namespace

struct ArrayStore::State {
  fs::path folder;
  std::set<std::string> seen;               // names of files
  std::map<std::string, std::string> keys;  // to the file that holds it
  struct Open {
    std::string name;
    std::unique_ptr<storage::Hdf5Reader> reader;
  };
  std::deque<Open> open;  // the last used first
  struct Array {
    std::string name;
    at::Tensor values;
  };
  std::map<std::string, std::vector<Array>> pending;
  std::int64_t pending_bytes = 0;

  const storage::Hdf5Reader& reader_of(const std::string& name) {
    const auto found = std::ranges::find(open, name, &Open::name);
    if (found != open.end()) {
      std::rotate(open.begin(), found, found + 1);
      return *open.front().reader;
    }
    open.push_front({name, std::make_unique<storage::Hdf5Reader>(open_checked(folder / name))});
    if (open.size() > kOpenFiles) {
      open.pop_back();
    }
    return *open.front().reader;
  }

  void learn(const std::string& name) {
    const storage::Hdf5Reader file = open_checked(folder / name);
    for (const storage::Hdf5Array& array : file.arrays()) {
      keys.try_emplace(array.name.substr(0, array.name.find('/')), name);
    }
  }
};

ArrayStore::ArrayStore(fs::path folder) : state_(std::make_unique<State>()) {
  state_->folder = std::move(folder);
  std::error_code code;
  fs::create_directories(state_->folder, code);
  require(!code, Fault::kIo, "cannot make the cache folder {}: {}", state_->folder.string(), code.message());
  refresh();
}
ArrayStore::~ArrayStore() = default;
ArrayStore::ArrayStore(ArrayStore&&) noexcept = default;
ArrayStore& ArrayStore::operator=(ArrayStore&&) noexcept = default;

void ArrayStore::refresh() {
  std::vector<std::string> names;
  std::error_code code;
  for (const fs::directory_entry& entry : fs::directory_iterator(state_->folder, code)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("part-") && name.ends_with(".h5") && state_->seen.insert(name).second) {
      names.push_back(name);
    }
  }
  require(!code, Fault::kIo, "cannot list {}: {}", state_->folder.string(), code.message());
  std::ranges::sort(names);
  for (const std::string& name : names) {
    try {
      state_->learn(name);
    } catch (const Error& error) {
      log::warn("{}; what it held is computed again", error.what());
    }
  }
}

bool ArrayStore::contains(const std::string& key) const {
  return state_->keys.contains(key);
}

std::int64_t ArrayStore::size() const {
  return std::ssize(state_->keys);
}

at::Tensor ArrayStore::read(const std::string& key, std::string_view name) const {
  const auto found = state_->keys.find(key);
  require(found != state_->keys.end(), Fault::kInput, "the cache {} has nothing under {}; run dormer cache again",
          state_->folder.string(), key);
  const storage::Hdf5Reader& file = state_->reader_of(found->second);
  const storage::Hdf5Array* array = file.find(dataset(key, name));
  require(array != nullptr && array->dtype == DType::kF32, Fault::kInput,
          "{} has no numbers {} under {}; remove the file, and run dormer cache again",
          (state_->folder / found->second).string(), name, key);
  at::Tensor values = at::empty(array->shape, at::kFloat);
  file.read(*array, {static_cast<std::byte*>(values.mutable_data_ptr()), values.nbytes()});
  return values;
}

void ArrayStore::add(const std::string& key, std::string_view name, const at::Tensor& values) {
  const at::Tensor kept = values.detach().to(at::kCPU, at::kFloat).contiguous();
  state_->pending_bytes += static_cast<std::int64_t>(kept.nbytes());
  state_->pending[key].push_back({std::string(name), kept});
}

std::int64_t ArrayStore::pending_bytes() const {
  return state_->pending_bytes;
}

void ArrayStore::commit() {
  if (state_->pending.empty()) {
    return;
  }
  storage::Hdf5Writer writer;
  writer.set_attribute("format", std::string(kFormat));
  std::vector<std::string> parts;
  for (const auto& [key, arrays] : state_->pending) {
    for (const State::Array& array : arrays) {
      parts.push_back(dataset(key, array.name));
      writer.add_array(
          {.name = parts.back(),
           .dtype = DType::kF32,
           .shape = array.values.sizes().vec(),
           .bytes = {static_cast<const std::byte*>(array.values.const_data_ptr()), array.values.nbytes()}});
    }
  }
  const std::string name = fmt::format("part-{}.h5", store_key(parts));
  const storage::Hdf5Image image = writer.finish();
  write_file_atomically(state_->folder / name, image.bytes());
  state_->seen.insert(name);
  for (const auto& [key, arrays] : state_->pending) {
    state_->keys.try_emplace(key, name);
  }
  state_->pending.clear();
  state_->pending_bytes = 0;
}

std::string store_key(std::span<const std::string> parts) {
  std::string text;
  for (const std::string& part : parts) {
    text += fmt::format("{}:{};", part.size(), part);
  }
  return storage::xxh3_128(std::as_bytes(std::span(text)));
}

}  // namespace dormer::cache
