#include "dormer/storage/array_views.hpp"

#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/storage/checksum.hpp"
#include "dormer/storage/mapped_file.hpp"
#include "dormer/storage/safetensors.hpp"
#include "storage/shown_name.hpp"
#include "storage/strict_json.hpp"

namespace dormer::storage {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kFormat = "dormer.views/1";

/// A file's size, and its header with every name and place.
std::string identity_of(const fs::path& path) {
  const std::shared_ptr<const MappedFile> file = MappedFile::open(path, "safetensors file");
  const auto header = static_cast<std::size_t>(parse_safetensors(file->bytes(), path.string()).data_begin);
  return fmt::format("{} {}", file->bytes().size(), xxh3_128(file->bytes().first(header)));
}

fs::path place_of(const fs::path& views, const std::string& file) {
  return file.find('/') == std::string::npos ? views.parent_path() / file : fs::path(file);
}

/// The bytes of a view, if they are inside of the array.
std::optional<std::pair<std::uint64_t, std::uint64_t>> range_of(const TensorEntry& array,
                                                                const std::vector<std::int64_t>& shape,
                                                                std::int64_t first_element) {
  const std::uint64_t size = size_of(array.dtype);
  const std::uint64_t held = (array.end - array.begin) / size;
  std::uint64_t elements = 1;
  for (const std::int64_t dimension : shape) {
    if (dimension < 0 || (dimension > 0 && elements > held / static_cast<std::uint64_t>(dimension))) {
      return std::nullopt;
    }
    elements *= static_cast<std::uint64_t>(dimension);
  }
  if (first_element < 0 || elements > held || static_cast<std::uint64_t>(first_element) > held - elements) {
    return std::nullopt;
  }
  const std::uint64_t begin = array.begin + static_cast<std::uint64_t>(first_element) * size;
  return std::pair(begin, begin + elements * size);
}

}  // namespace

void write_views(const fs::path& path, std::span<const ArrayView> views) {
  Json root{{"format", kFormat}, {"files", Json::object()}, {"arrays", Json::object()}};
  for (const ArrayView& view : views) {
    if (!root["files"].contains(view.file)) {
      root["files"][view.file] = identity_of(place_of(path, view.file));
    }
    root["arrays"][view.name] = {
        {"file", view.file}, {"array", view.array}, {"shape", view.shape}, {"first", view.first_element}};
  }
  write_file_atomically(path, std::string_view(root.dump(1) + "\n"));
}

SafetensorsSet SafetensorsSet::open_views(const fs::path& path) {
  const Json root = parse_strict_json(read_file(path, "views"), "bad views " + path.string());
  const auto bad = [&] { fail(Fault::kInput, "bad views {}; remove its folder, it is made again", path.string()); };
  SafetensorsSet set;
  std::map<std::string, std::shared_ptr<const SafetensorsFile>> opened;
  std::map<std::string, std::vector<TensorEntry>> entries;
  try {
    if (root.at("format") != kFormat) {
      bad();
    }
    for (const auto& [file, identity] : root.at("files").items()) {
      const fs::path place = place_of(path, file);
      require(identity.get<std::string>() == identity_of(place), Fault::kInput,
              "{} is another file than the one that {} was made for; remove the folder of the latter", place.string(),
              path.string());
      opened[file] = SafetensorsFile::open(place);
    }
    for (const auto& [name, view] : root.at("arrays").items()) {
      const std::string file = view.at("file").get<std::string>();
      const TensorEntry* array = opened.at(file)->find(view.at("array").get<std::string>());
      const auto shape = view.at("shape").get<std::vector<std::int64_t>>();
      const auto range =
          array == nullptr ? std::nullopt : range_of(*array, shape, view.at("first").get<std::int64_t>());
      if (!range) {
        bad();
      }
      entries[file].push_back(
          {.name = name, .dtype = array->dtype, .shape = shape, .begin = range->first, .end = range->second});
    }
  } catch (const Json::exception&) {
    bad();
  } catch (const std::out_of_range&) {
    bad();
  }
  for (auto& [file, of_file] : entries) {
    const std::shared_ptr<const SafetensorsFile> seen = opened.at(file)->with_entries(std::move(of_file));
    set.files_.push_back(seen);
    for (const TensorEntry& entry : seen->tensors()) {
      set.tensors_.emplace(entry.name, Found{seen, &entry});
    }
  }
  return set;
}

}  // namespace dormer::storage
