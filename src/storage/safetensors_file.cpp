#include <algorithm>
#include <utility>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/storage/mapped_file.hpp"
#include "dormer/storage/safetensors.hpp"
#include "storage/shown_name.hpp"
#include "storage/strict_json.hpp"

namespace dormer::storage {

SafetensorsFile::SafetensorsFile(std::shared_ptr<const MappedFile> file, SafetensorsHeader header)
    : file_(std::move(file)), header_(std::move(header)) {}

std::shared_ptr<const SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& path) {
  std::shared_ptr<const MappedFile> file = MappedFile::open(path, "safetensors file");
  SafetensorsHeader header = parse_safetensors(file->bytes(), path.string());
  return std::shared_ptr<const SafetensorsFile>(new SafetensorsFile(std::move(file), std::move(header)));
}

std::shared_ptr<const SafetensorsFile> SafetensorsFile::with_entries(std::vector<TensorEntry> entries) const {
  std::ranges::sort(entries, {}, &TensorEntry::name);
  SafetensorsHeader header{
      .data_begin = header_.data_begin, .tensors = std::move(entries), .metadata = header_.metadata};
  return std::shared_ptr<const SafetensorsFile>(new SafetensorsFile(file_, std::move(header)));
}

const std::filesystem::path& SafetensorsFile::path() const {
  return file_->path();
}

const TensorEntry* SafetensorsFile::find(std::string_view name) const {
  const auto place = std::ranges::lower_bound(header_.tensors, name, {}, &TensorEntry::name);
  return place != header_.tensors.end() && place->name == name ? &*place : nullptr;
}

std::span<const std::byte> SafetensorsFile::bytes(const TensorEntry& entry) const {
  return file_->bytes().subspan(header_.data_begin + entry.begin, entry.end - entry.begin);
}

bool SafetensorsFile::lends(const TensorEntry& entry) const {
  const bool aligned = (header_.data_begin + entry.begin) % size_of(entry.dtype) == 0;  // a mapping begins at a page
  return aligned && !file_->on_network();
}

void SafetensorsFile::read(const TensorEntry& entry, std::span<std::byte> into) const {
  invariant(into.size() == entry.end - entry.begin, "{} has another size", entry.name);
  file_->read(header_.data_begin + entry.begin, into);
}

namespace {

using Json = nlohmann::json;
using WeightMap = std::map<std::string, std::string>;

constexpr std::size_t kMaximumIndexBytes = 100'000'000;

WeightMap read_weight_map(const std::filesystem::path& index) {
  const std::string where = index.string();
  const std::string text = read_file(index, "safetensors index");
  require(text.size() <= kMaximumIndexBytes, Fault::kInput, "bad index {}: {} bytes are too many for an index", where,
          text.size());
  const Json root = parse_strict_json(text, "bad index " + where);
  require(root.is_object() && root.contains("weight_map") && root.at("weight_map").is_object(), Fault::kInput,
          "bad index {}: it has no object 'weight_map'; download it again", where);
  WeightMap result;
  for (const auto& [tensor, shard] : root.at("weight_map").items()) {
    require(shard.is_string(), Fault::kInput, "bad index {}: the file of '{}' is not a string; download it again",
            where, shown(tensor));
    const auto& name = shard.get_ref<const std::string&>();
    const bool plain = !name.empty() && name != "." && name.find('/') == std::string::npos &&
                       name.find("..") == std::string::npos && name.find('\0') == std::string::npos;
    require(plain, Fault::kInput,
            "bad index {}: it sends '{}' to '{}', which points outside of the folder; shards must lie beside the index",
            where, shown(tensor), shown(name));
    result.emplace(tensor, name);
  }
  require(!result.empty(), Fault::kInput, "bad index {}: its weight_map is empty; download it again", where);
  return result;
}

}  // namespace

SafetensorsSet SafetensorsSet::open_file(const std::filesystem::path& path) {
  SafetensorsSet set;
  set.files_.push_back(SafetensorsFile::open(path));
  for (const TensorEntry& entry : set.files_.front()->tensors()) {
    set.tensors_.emplace(entry.name, Found{set.files_.front(), &entry});
  }
  return set;
}

SafetensorsSet SafetensorsSet::open_folder(const std::filesystem::path& folder, std::string_view stem) {
  std::error_code code;
  require(std::filesystem::is_directory(folder, code), Fault::kInput, "model folder not found: {}; check the path",
          folder.string());
  const std::filesystem::path single = folder / fmt::format("{}.safetensors", stem);
  const std::filesystem::path index = folder / fmt::format("{}.safetensors.index.json", stem);
  if (std::filesystem::exists(std::filesystem::symlink_status(single, code))) {
    return open_file(single);
  }
  if (const std::filesystem::path views = folder / fmt::format("{}.view.json", stem);
      std::filesystem::exists(views, code)) {
    return open_views(views);
  }
  require(std::filesystem::exists(std::filesystem::symlink_status(index, code)), Fault::kInput,
          "no weights in {}: neither {} nor {}; pickled .bin files are not read, convert them to safetensors",
          folder.string(), single.filename().string(), index.filename().string());

  SafetensorsSet set;
  std::map<std::string, std::shared_ptr<const SafetensorsFile>> shards;
  for (const auto& [tensor, name] : read_weight_map(index)) {
    std::shared_ptr<const SafetensorsFile>& shard = shards[name];
    if (!shard) {
      shard = SafetensorsFile::open(folder / name);
      set.files_.push_back(shard);
    }
    const TensorEntry* entry = shard->find(tensor);
    require(entry != nullptr, Fault::kInput,
            "bad index {}: it says that '{}' is in {}, but that file does not hold it; download both again",
            index.string(), shown(tensor), name);
    set.tensors_.emplace(tensor, Found{shard, entry});
  }
  for (const auto& [name, shard] : shards) {
    for (const TensorEntry& entry : shard->tensors()) {
      const auto place = set.tensors_.find(entry.name);
      require(place == set.tensors_.end() || place->second.file == shard, Fault::kInput,
              "tensor '{}' is in two files of {}: {} and {}; remove the one that does not belong to this model",
              shown(entry.name), folder.string(), name,
              place == set.tensors_.end() ? name : place->second.file->path().filename().string());
    }
  }
  return set;
}

std::optional<SafetensorsSet::Found> SafetensorsSet::find(std::string_view name) const {
  const auto place = tensors_.find(name);
  return place == tensors_.end() ? std::nullopt : std::optional(place->second);
}

std::vector<std::string> SafetensorsSet::names() const {
  std::vector<std::string> result;
  result.reserve(tensors_.size());
  for (const auto& tensor : tensors_) {
    result.push_back(tensor.first);
  }
  return result;
}

}  // namespace dormer::storage
