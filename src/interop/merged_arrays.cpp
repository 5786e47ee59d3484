#include "merged_arrays.hpp"

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/interop/merged.hpp"
#include "dormer/storage/safetensors.hpp"
#include "dormer/tensor/frozen_product.hpp"
#include "model_files.hpp"
#include "shard_plan.hpp"
#include "stored_values.hpp"

namespace dormer::interop {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

at::ScalarType scalar_type(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return at::kHalf;
    case DType::kBF16:
      return at::kBFloat16;
    case DType::kF64:
      return at::kDouble;
    default:
      return at::kFloat;
  }
}

/// The arrays of one merged folder, one at a time.
class MergedArrays {
 public:
  MergedArrays(const ModelPart& part, DType dtype)
      : part_(part),
        dtype_(dtype),
        files_(std::filesystem::is_regular_file(part.folder)
                   ? storage::SafetensorsSet::open_file(part.folder)
                   : storage::SafetensorsSet::open_folder(part.folder, part.stem)) {}

  [[nodiscard]] std::vector<PlannedArray> plan() const {
    std::vector<PlannedArray> arrays;
    std::vector<std::string> names = files_.names();
    if (part_.unties_head) {
      names.emplace_back(kHeadArray);
    }
    for (const std::string& name : names) {
      const storage::TensorEntry& entry = *found(name).entry;
      std::int64_t elements = 1;
      for (const std::int64_t size : entry.shape) {
        elements *= size;
      }
      if (const auto change = part_.changes.find(name); change != part_.changes.end() && !entry.shape.empty()) {
        elements = elements / entry.shape.front() * (entry.shape.front() + change->second.added_rows);
      }
      arrays.push_back({name, elements * static_cast<std::int64_t>(size_of(dtype_of(entry)))});
    }
    return arrays;
  }

  [[nodiscard]] DType dtype_of(const storage::TensorEntry& entry) const {
    return is_float(entry.dtype) ? dtype_ : entry.dtype;
  }

  /// Contiguous, in the dtype of the file. Arrays that are no floats are not asked for.
  [[nodiscard]] at::Tensor values(const std::string& name) const {
    at::Tensor values = stored(name);
    if (const auto change = part_.changes.find(name); change != part_.changes.end()) {
      values = change->second.apply(values);
    }
    return tensor::to_dtype(values, dtype_).contiguous();
  }

  /// Where an array's values come from before the changes.
  [[nodiscard]] storage::SafetensorsSet::Found found(const std::string& name) const {
    return *files_.find(part_.unties_head && name == kHeadArray ? kTableArray : name);
  }

  /// Whether the array is written as it lies in the file.
  [[nodiscard]] bool unchanged(const std::string& name) const {
    const storage::TensorEntry& entry = *found(name).entry;
    return !is_float(entry.dtype) || (entry.dtype == dtype_ && !part_.changes.contains(name));
  }

  /// What each changed array is called must be in the folder, as numbers that can change: nothing is left out silently.
  void require_complete() const {
    for (const auto& [name, change] : part_.changes) {
      require(files_.find(name).has_value() || (part_.unties_head && name == kHeadArray), Fault::kInput,
              "the model {} has no {}, which the adapter changes; is it another model?", part_.folder.string(), name);
      const DType dtype = found(name).entry->dtype;
      require(is_float(dtype), Fault::kInput,
              "{} of {} is stored as {}, to which nothing is added; merge into the model in 16 or 32 bits", name,
              part_.folder.string(), name_of(dtype));
    }
  }

  [[nodiscard]] const storage::Metadata& metadata() const { return files_.files().front()->metadata(); }

 private:
  [[nodiscard]] at::Tensor stored(const std::string& name) const {
    const storage::SafetensorsSet::Found place = found(name);
    const std::span<const std::byte> bytes = place.file->bytes(*place.entry);
    const at::Tensor values = at::empty(place.entry->shape, scalar_type(place.entry->dtype));
    std::copy(bytes.begin(), bytes.end(), static_cast<std::byte*>(values.mutable_data_ptr()));
    return values;
  }

  const ModelPart& part_;
  DType dtype_;
  storage::SafetensorsSet files_;
};

/// Writes one file and compares what is on the disk.
void write_shard(const fs::path& path, const MergedArrays& merged, const std::vector<PlannedArray>& shard,
                 const storage::Metadata& metadata = {{"format", "pt"}}) {
  std::vector<at::Tensor> owners;
  std::vector<storage::NamedArray> arrays;
  for (const PlannedArray& planned : shard) {
    const storage::SafetensorsSet::Found place = merged.found(planned.name);
    const DType dtype = merged.dtype_of(*place.entry);
    if (merged.unchanged(planned.name)) {
      arrays.push_back({planned.name, dtype, place.entry->shape, place.file->bytes(*place.entry)});
      continue;
    }
    const at::Tensor& values = owners.emplace_back(merged.values(planned.name));
    arrays.push_back({planned.name,
                      dtype,
                      values.sizes().vec(),
                      {static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()}});
  }
  storage::write_safetensors(path, arrays, metadata);
  const auto file = storage::SafetensorsFile::open(path);
  require(holds_exactly(*file, arrays), Fault::kIo,
          "{} does not read back as it was written; is the disk or the file system failing?", path.string());
}

std::string index_text(const std::string& stem, const std::vector<std::vector<PlannedArray>>& shards) {
  Json root{{"metadata", {{"total_size", 0}}}, {"weight_map", Json::object()}};
  std::int64_t total = 0;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    for (const PlannedArray& array : shards[i]) {
      root["weight_map"][array.name] = shard_name(stem, i, shards.size());
      total += array.bytes;
    }
  }
  root["metadata"]["total_size"] = total;
  return root.dump(2) + "\n";
}

}  // namespace

bool is_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16 || dtype == DType::kF64;
}

std::int64_t part_bytes(const ModelPart& part, DType dtype) {
  std::int64_t bytes = 0;
  for (const PlannedArray& array : MergedArrays(part, dtype).plan()) {
    bytes += array.bytes;
  }
  return bytes;
}

void write_part(const ModelPart& part, const fs::path& target, const MergedForm& form) {
  const MergedArrays merged(part, form.dtype);
  merged.require_complete();
  const std::vector<std::vector<PlannedArray>> shards = plan_shards(merged.plan(), form.largest_file);
  for (std::size_t i = 0; i < shards.size(); ++i) {
    write_shard(target / shard_name(part.stem, i, shards.size()), merged, shards[i]);
  }
  if (shards.size() > 1) {
    const std::string text = index_text(part.stem, shards);
    write_new_file(target / (part.stem + ".safetensors.index.json"), std::as_bytes(std::span(text)));
  }
}

void write_one_file(const ModelPart& part, const fs::path& target, DType dtype) {
  const MergedArrays merged(part, dtype);
  merged.require_complete();
  storage::Metadata metadata = merged.metadata();
  metadata["format"] = "pt";
  std::erase_if(metadata, [](const auto& entry) { return entry.first.find("hash") != std::string::npos; });  // not its
  write_checked(target, replace_file,
                [&](const fs::path& temporary) { write_shard(temporary, merged, merged.plan(), metadata); });
}

}  // namespace dormer::interop
