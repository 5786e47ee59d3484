#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <nlohmann/json.hpp>

#include "dormer/adapter/effective_weight.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/interop/merged.hpp"
#include "dormer/storage/safetensors.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/frozen_product.hpp"
#include "model_files.hpp"
#include "shard_plan.hpp"

namespace dormer::interop {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

bool is_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16 || dtype == DType::kF64;
}

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

/// The arrays of the merged model, one at a time.
class MergedArrays {
 public:
  /// Without `base.layers` it can plan, and nothing else.
  MergedArrays(const adapter::AdapterSet& adapters, const BaseFacts& base, DType dtype)
      : adapters_(adapters), dtype_(dtype), files_(storage::SafetensorsSet::open_folder(base.folder)) {
    for (std::size_t i = 0; i < adapters.site_indices().size() && !base.layers.empty(); ++i) {
      const std::size_t index = adapters.site_indices()[i];
      const adapter::Site& site = base.layers[index].site;
      weights_[base.layers[index].weight.name()] = &site;
      biases_[site.name + ".bias"] = &site;
    }
    if (adapters.added_tokens() != nullptr) {
      for (const std::string& module : adapters.added_tokens()->modules()) {
        tables_[module + ".weight"] = module;
      }
    }
  }

  [[nodiscard]] std::vector<PlannedArray> plan() const {
    std::vector<PlannedArray> arrays;
    for (const std::string& name : files_.names()) {
      const storage::TensorEntry& entry = *files_.find(name)->entry;
      std::int64_t elements = 1;
      for (const std::int64_t size : entry.shape) {
        elements *= size;
      }
      if (tables_.contains(name)) {
        elements = elements / entry.shape.at(0) * (entry.shape.at(0) + adapters_.added_tokens()->count());
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
    if (const auto site = weights_.find(name); site != weights_.end()) {
      values = adapter::effective_weight(adapters_, *site->second, values);
    } else if (const auto whole = biases_.find(name); whole != biases_.end()) {
      values = trained_or(name, values);
    }
    if (const auto table = tables_.find(name); table != tables_.end()) {
      const tensor::FlatSpace& space = adapters_.space();
      const at::Tensor rows =
          tensor::FlatSpace::unpadded_part(
              space.values(), space.entries()[space.index_of(table->second + adapter::AddedTokens::kSuffix)])
              .cpu();
      values = at::cat({values.to(at::kFloat), rows}, 0);
    }
    return tensor::to_dtype(values, dtype_).contiguous();
  }

  [[nodiscard]] storage::SafetensorsSet::Found found(const std::string& name) const { return *files_.find(name); }

  /// What each site's weight is called must be in the folder: nothing is left out silently.
  void require_complete() const {
    for (const auto& [name, site] : weights_) {
      require(files_.find(name).has_value(), Fault::kInput,
              "the model's folder has no {}, which the adapter changes; is it another model's folder?", name);
    }
  }

 private:
  [[nodiscard]] at::Tensor stored(const std::string& name) const {
    const storage::SafetensorsSet::Found place = found(name);
    const std::span<const std::byte> bytes = place.file->bytes(*place.entry);
    const at::Tensor values = at::empty(place.entry->shape, scalar_type(place.entry->dtype));
    std::copy(bytes.begin(), bytes.end(), static_cast<std::byte*>(values.mutable_data_ptr()));
    return values;
  }

  [[nodiscard]] at::Tensor trained_or(const std::string& name, const at::Tensor& frozen) const {
    const tensor::FlatSpace& space = adapters_.space();
    return space.contains(name)
               ? tensor::FlatSpace::unpadded_part(space.values(), space.entries()[space.index_of(name)]).cpu()
               : frozen;
  }

  const adapter::AdapterSet& adapters_;
  DType dtype_;
  storage::SafetensorsSet files_;
  std::map<std::string, const adapter::Site*> weights_;
  std::map<std::string, const adapter::Site*> biases_;
  std::map<std::string, std::string> tables_;  // array to module
};

/// Writes one file and compares what is on the disk.
void write_shard(const fs::path& path, const MergedArrays& merged, const std::vector<PlannedArray>& shard) {
  std::vector<at::Tensor> owners;
  std::vector<storage::NamedArray> arrays;
  for (const PlannedArray& planned : shard) {
    const storage::SafetensorsSet::Found place = merged.found(planned.name);
    const DType dtype = merged.dtype_of(*place.entry);
    if (!is_float(place.entry->dtype)) {
      arrays.push_back({planned.name, dtype, place.entry->shape, place.file->bytes(*place.entry)});
      continue;
    }
    const at::Tensor& values = owners.emplace_back(merged.values(planned.name));
    arrays.push_back({planned.name,
                      dtype,
                      values.sizes().vec(),
                      {static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()}});
  }
  storage::write_safetensors(path, arrays, {{"format", "pt"}});
  const auto file = storage::SafetensorsFile::open(path);
  bool same = file->tensors().size() == arrays.size();
  for (const storage::NamedArray& array : arrays) {
    const storage::TensorEntry* entry = file->find(array.name);
    same = same && entry != nullptr && entry->dtype == array.dtype && entry->shape == array.shape &&
           std::ranges::equal(file->bytes(*entry), array.bytes);
  }
  require(same, Fault::kIo, "{} does not read back as it was written; is the disk or the file system failing?",
          path.string());
}

void write_text(const fs::path& path, const std::string& text) {
  write_new_file(path, std::as_bytes(std::span(text)));
}

std::string index_text(const std::vector<std::vector<PlannedArray>>& shards) {
  Json root{{"metadata", {{"total_size", 0}}}, {"weight_map", Json::object()}};
  std::int64_t total = 0;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    for (const PlannedArray& array : shards[i]) {
      root["weight_map"][array.name] = shard_name(i, shards.size());
      total += array.bytes;
    }
  }
  root["metadata"]["total_size"] = total;
  return root.dump(2) + "\n";
}

/// The model's own, in the spelling that it has (transformers 5 says dtype, 4 says torch_dtype).
std::string config_text(const fs::path& folder, const adapter::AdapterSet& adapters, DType dtype) {
  const std::string text = read_file(folder / "config.json", "model configuration");
  nlohmann::ordered_json root = nlohmann::ordered_json::parse(text, nullptr, false);
  require(root.is_object(), Fault::kInput, "{} is not a JSON object", (folder / "config.json").string());
  root[root.contains("torch_dtype") ? "torch_dtype" : "dtype"] = name_of(dtype);
  if (adapters.added_tokens() != nullptr) {
    root["vocab_size"] = adapters.added_tokens()->first_token() + adapters.added_tokens()->count();
  }
  return root.dump(2) + "\n";
}

/// A head that is the embedding would follow the embedding's change, which it does not in training.
void require_untied(const adapter::AdapterSet& adapters, const BaseFacts& base, const fs::path& folder) {
  const storage::SafetensorsSet files = storage::SafetensorsSet::open_folder(base.folder);
  for (const std::size_t index : adapters.site_indices()) {
    require(base.layers[index].site.form != adapter::LayerForm::kEmbedding || files.find("lm_head.weight").has_value(),
            Fault::kUsage,
            "cannot merge into {}: the head of this model is its embedding, which has an adapter; export for peft",
            folder.string());
  }
}

}  // namespace

std::int64_t merged_bytes(const adapter::AdapterSet& adapters, const fs::path& model_folder, DType dtype) {
  std::int64_t bytes = 0;
  for (const PlannedArray& array :
       MergedArrays(adapters, {.hub_id = {}, .folder = model_folder, .linear_layers = {}}, dtype).plan()) {
    bytes += array.bytes;
  }
  return bytes;
}

void write_merged(const adapter::AdapterSet& adapters, const fs::path& folder, const BaseFacts& base, DType dtype) {
  require(is_float(dtype) && dtype != DType::kF64, Fault::kUsage,
          "export.dtype {} is none for a model; write float32, bfloat16 or float16", name_of(dtype));
  const tensor::NoRecording guard;
  require_untied(adapters, base, folder);
  const MergedArrays merged(adapters, base, dtype);
  merged.require_complete();
  const std::vector<std::vector<PlannedArray>> shards = plan_shards(merged.plan(), kLargestModelFile);
  write_folder(folder, "config.json", [&](const fs::path& temporary) {
    for (std::size_t i = 0; i < shards.size(); ++i) {
      write_shard(temporary / shard_name(i, shards.size()), merged, shards[i]);
    }
    if (shards.size() > 1) {
      write_text(temporary / "model.safetensors.index.json", index_text(shards));
    }
    write_text(temporary / "config.json", config_text(base.folder, adapters, dtype));
    std::error_code code;
    if (fs::is_regular_file(base.folder / "generation_config.json", code)) {
      write_text(temporary / "generation_config.json",
                 read_file(base.folder / "generation_config.json", "generation configuration"));
    }
    copy_tokenizer(base.folder, temporary);
  });
}

}  // namespace dormer::interop
