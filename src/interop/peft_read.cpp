#include <algorithm>
#include <memory>
#include <utility>

#include "dormer/core/error.hpp"
#include "dormer/interop/peft.hpp"
#include "dormer/storage/safetensors.hpp"
#include "layer_names.hpp"
#include "peft_config.hpp"
#include "peft_names.hpp"
#include "stored_values.hpp"

namespace dormer::interop {
namespace {

bool is_whole(const PeftKey& key) {
  return key.factor == "weight" || key.factor == "bias";
}

/// Whether an array belongs to an adapter of this configuration.
bool belongs(const PeftKey& key, const PeftConfig& config) {
  if (key.factor == kPeftBias) {
    return config.bias != "none";
  }
  if (is_whole(key)) {
    return config.saves(key.layer) || (key.factor == "bias" && config.bias == "all");
  }
  if (key.factor.starts_with("hada_")) {
    return config.method == "LOHA";
  }
  if (key.factor.starts_with("lokr_")) {
    return config.method == "LOKR";
  }
  return config.method == "LORA";
}

StoredTokens take_tokens(std::vector<std::int64_t> indices, const storage::SafetensorsFile& file,
                         const storage::TensorEntry& entry) {
  require(!indices.empty() && entry.shape.size() == 2 && entry.shape.front() == std::ssize(indices), Fault::kInput,
          "'{}' of {} does not have one row for each of the {} trainable_token_indices of adapter_config.json",
          entry.name, file.path().string(), indices.size());
  return {.indices = std::move(indices), .rows = read_array(file, entry).values};
}

void take(StoredAdapter& adapter, const PeftKey& key, const PeftConfig& config, const storage::SafetensorsFile& file,
          const storage::TensorEntry& entry) {
  if (key.factor == kPeftTokens) {
    adapter.tokens[key.layer] = take_tokens(config.tokens_of(key.layer), file, entry);
    return;
  }
  StoredLayer& layer = adapter.layers[key.layer];
  if (key.factor == kPeftMagnitude) {
    set_peft_magnitude(layer, key.layer, read_array(file, entry));
    return;
  }
  if (key.factor == kPeftBias || (key.factor == "bias" && !config.saves(key.layer))) {
    layer.bias = read_array(file, entry).values;
    return;
  }
  layer.dtype = entry.dtype;
  put_peft_factor(layer, key, read_array(file, entry));
}

void check_whole(const std::string& name, const StoredLayer& layer, const std::string& where) {
  const auto bias = layer.factors.find("bias");
  const auto weight = layer.factors.find("weight");
  const bool fits = weight != layer.factors.end() && !weight->second.shape.empty() &&
                    (bias == layer.factors.end() || std::ssize(bias->second.values) == weight->second.shape.front());
  require(fits, Fault::kInput, "{} lacks the weight of '{}', or its bias is of another length", where, name);
}

/// The numbers of the configuration, which every layer must be as wide as.
void set_numbers(StoredLayer& layer, const std::string& name, const PeftConfig& config, const std::string& where) {
  if (layer.kind == "lokr" && layer.factors.contains("lokr_w2") && layer.factors.at("lokr_w2").shape.size() == 3) {
    fail(Fault::kInput,
         "{} has a whole lokr_w2 of a one-dimensional convolution, '{}', which PEFT computes in an order "
         "of axes of its own; merge it in PEFT",
         where, name);
  }
  const std::int64_t rank = config.rank_of(name);
  if (layer.rank == 0) {
    // PEFT scales a LoKr by alpha / r also where both factors are whole; elsewhere such a layer has no scale.
    StoredArray& small = layer.factors.at("lokr_w1");
    small = scaled(std::move(small), config.scale_of(name));
    return;
  }
  require(layer.rank == rank, Fault::kInput,
          "'{}' of {} has the rank {}, but adapter_config.json says {}; the two files do not belong together", name,
          where, layer.rank, rank);
  layer.alpha = config.alpha_of(name);
  layer.scale = config.scale_of(name);
  const auto outputs = static_cast<std::size_t>(shape_of(name, layer).out);
  require(layer.magnitude.size() == (config.decompose ? outputs : 0), Fault::kInput,
          "'{}' of {} has {} magnitudes where use_dora: {} and {} outputs ask for {}", name, where,
          layer.magnitude.size(), config.decompose, outputs, config.decompose ? outputs : 0);
}

/// "org/name"; never a path of the machine that wrote the file.
std::optional<std::string> hub_name(const std::string& base) {
  const bool is_path = base.starts_with('/') || base.starts_with('.') || base.starts_with('~');
  const bool one_slash = std::ranges::count(base, '/') == 1 && !base.ends_with('/');
  return !is_path && one_slash ? std::optional(base) : std::nullopt;
}

void finish(StoredAdapter& adapter, const PeftConfig& config, const std::string& where) {
  require(!adapter.layers.empty(), Fault::kInput, "{} holds no tensors", where);
  for (auto& [name, layer] : adapter.layers) {
    if (std::ranges::any_of(layer.factors, [](const auto& entry) { return is_whole({{}, entry.first}); })) {
      check_whole(name, layer, where);
    }
    finish_layer(layer, name);
    if (layer.kind != "full" && layer.kind != "bias") {
      set_numbers(layer, name, config, where);
    }
  }
  for (const std::string& end : config.modules_to_save) {
    const bool there = std::ranges::any_of(
        adapter.layers, [&](const auto& entry) { return entry.second.kind == "full" && entry.first.ends_with(end); });
    require(there, Fault::kInput, "adapter_config.json names '{}' in modules_to_save, but {} has no weight of it", end,
            where);
  }
  adapter.base = hub_name(config.base);
  adapter.family = config.task.empty() ? family_of(adapter) : ModelFamily::kLanguage;
}

}  // namespace

StoredAdapter read_peft(const std::filesystem::path& folder, const ReadOptions& options) {
  const PeftConfig config = read_peft_config(folder / "adapter_config.json");
  const std::filesystem::path path = folder / "adapter_model.safetensors";
  std::error_code code;
  require(std::filesystem::exists(path, code) || !std::filesystem::exists(folder / "adapter_model.bin", code),
          Fault::kInput, "{} holds a pickled adapter_model.bin, which can run code; save it as safetensors",
          folder.string());
  const std::shared_ptr<const storage::SafetensorsFile> file = storage::SafetensorsFile::open(path);
  StoredAdapter adapter{.metadata = file->metadata()};
  for (const storage::TensorEntry& entry : file->tensors()) {
    const std::optional<PeftKey> key = parse_peft_key(entry.name);
    if (key && key->factor == "weight" && key->layer.ends_with(".base_layer")) {  // save_embedding_layers
      adapter.warnings.push_back(
          fmt::format("{} holds the base's own weight '{}'; the model's is used instead", path.string(), entry.name));
      continue;
    }
    if (key && belongs(*key, config)) {
      take(adapter, *key, config, *file, entry);
      continue;
    }
    require(options.allow_partial, Fault::kInput,
            "'{}' of {} is not a tensor of an adapter of PEFT's type {}, nor of a module in modules_to_save",
            entry.name, path.string(), config.method);
    adapter.left_out.push_back(entry.name);
  }
  finish(adapter, config, path.string());
  return adapter;
}

}  // namespace dormer::interop
