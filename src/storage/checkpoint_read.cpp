#include <algorithm>
#include <charconv>
#include <map>
#include <string>
#include <system_error>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/storage/checkpoint.hpp"
#include "dormer/storage/checksum.hpp"
#include "dormer/storage/hdf5.hpp"
#include "dormer/storage/mapped_file.hpp"

namespace dormer::storage {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-";

std::optional<std::int64_t> step_of(const fs::path& folder) {
  const std::string name = folder.filename().string();
  std::int64_t step = 0;
  const char* end = name.data() + name.size();
  if (!name.starts_with(kPrefix) || name.size() < kPrefix.size() + 9) {
    return std::nullopt;
  }
  const auto [stopped, code] = std::from_chars(name.data() + kPrefix.size(), end, step);
  return code == std::errc() && stopped == end && step >= 0 ? std::optional(step) : std::nullopt;
}

void check_file(const fs::path& folder, const ManifestFile& expected) {
  const auto file = MappedFile::open(folder / expected.name, "checkpoint shard");
  require(file->bytes().size() == expected.bytes, Fault::kInput, "{} has {} bytes, but its manifest says {}",
          file->path().string(), file->bytes().size(), expected.bytes);
  std::vector<std::byte> read;
  std::span<const std::byte> bytes = file->bytes();
  if (file->on_network()) {
    read.resize(bytes.size());
    file->read(0, read);
    bytes = read;
  }
  require(xxh3_128(bytes) == expected.xxh3_128, Fault::kInput, "{} is damaged: its checksum is not the manifest's",
          file->path().string());
}

// Reads one slice into its place in the array.
void read_slice(const Hdf5Reader& reader, const ManifestSlice& slice, const std::string& where, StoredArray& array) {
  const Hdf5Array* found = reader.find(slice.name);
  require(found != nullptr && found->dtype == slice.dtype && found->count() == slice.count, Fault::kInput,
          "{} does not hold '{}' as its manifest says", where, slice.name);
  const std::size_t element = size_of(slice.dtype);
  const std::span<std::byte> into =
      std::span(array.bytes)
          .subspan(static_cast<std::size_t>(slice.offset) * element, static_cast<std::size_t>(slice.count) * element);
  reader.read(*found, into);
  require(xxh3_128(into) == slice.xxh3_128, Fault::kInput, "'{}' of {} is damaged: its checksum is not the manifest's",
          slice.name, where);
}

}  // namespace

std::vector<CheckpointPlace> list_checkpoints(const fs::path& parent) {
  std::vector<CheckpointPlace> places;
  std::error_code code;
  for (fs::directory_iterator entry(parent, code), end; !code && entry != end; entry.increment(code)) {
    const std::optional<std::int64_t> step = step_of(entry->path());
    std::error_code ignored;
    if (step && entry->is_directory(ignored)) {
      places.push_back({.step = *step, .folder = entry->path()});
    }
  }
  require(!code || code == std::errc::no_such_file_or_directory, Fault::kIo, "cannot list {}: {}", parent.string(),
          code.message());
  std::ranges::sort(places, std::greater(), &CheckpointPlace::step);
  return places;
}

const StoredArray* Checkpoint::find(std::string_view name) const {
  const auto place = std::ranges::lower_bound(arrays, name, {},
                                              [](const StoredArray& array) -> std::string_view { return array.name; });
  return place != arrays.end() && place->name == name ? &*place : nullptr;
}

Manifest read_manifest(const fs::path& folder) {
  const fs::path path = folder / Manifest::kFileName;
  std::error_code code;
  // A pipe under that name must be refused, not waited for.
  require(!fs::exists(path, code) || fs::is_regular_file(path, code), Fault::kInput,
          "checkpoint manifest is not a regular file: {}; put the file itself there", path.string());
  Manifest manifest = parse_manifest(read_file(path, "checkpoint manifest"), path.string());
  require(!step_of(folder) || *step_of(folder) == manifest.step, Fault::kInput,
          "{} is of step {}; a checkpoint's folder must not be renamed", folder.string(), manifest.step);
  return manifest;
}

Checkpoint load_checkpoint(const fs::path& folder) {
  const Manifest manifest = read_manifest(folder);
  std::map<std::string, Hdf5Reader> readers;
  for (const ManifestFile& file : manifest.files) {
    check_file(folder, file);
    readers.emplace(file.name, Hdf5Reader::open(folder / file.name, "checkpoint shard"));
  }
  std::map<std::string, StoredArray> arrays;
  for (const ManifestSlice& slice : manifest.arrays) {
    StoredArray& array = arrays[slice.name];
    if (array.name.empty()) {
      std::size_t bytes = size_of(slice.dtype);
      for (const std::int64_t dimension : slice.shape) {
        bytes *= static_cast<std::size_t>(dimension);
      }
      array = {.name = slice.name, .dtype = slice.dtype, .shape = slice.shape, .bytes = std::vector<std::byte>(bytes)};
    }
    read_slice(readers.at(slice.file), slice, (folder / slice.file).string(), array);
  }
  Checkpoint checkpoint{.step = manifest.step, .state = manifest.state, .arrays = {}};
  for (auto& entry : arrays) {
    checkpoint.arrays.push_back(std::move(entry.second));
  }
  return checkpoint;
}

}  // namespace dormer::storage
