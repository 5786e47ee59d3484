#include <map>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "diffusers_names.hpp"
#include "dormer/core/error.hpp"
#include "dormer/interop/diffusers.hpp"
#include "dormer/storage/safetensors.hpp"
#include "layer_names.hpp"
#include "peft_config.hpp"
#include "peft_names.hpp"
#include "stored_values.hpp"

namespace dormer::interop {
namespace {

using Json = nlohmann::ordered_json;

/// By component; empty: the file says nothing, and every alpha is the rank.
using Configurations = std::map<std::string, PeftConfig>;

Configurations configurations_of(const storage::SafetensorsFile& file) {
  const std::string where = file.path().string();
  const auto found = file.metadata().find("lora_adapter_metadata");
  if (found == file.metadata().end()) {
    return {};
  }
  const Json root = parse_peft_json(found->second, "lora_adapter_metadata of " + where);
  require(root.is_object(), Fault::kInput, "lora_adapter_metadata of {} is not JSON", where);
  std::map<std::string, Json> parts;
  for (const auto& [key, value] : root.items()) {
    const std::size_t dot = key.find('.');
    require(dot != std::string::npos, Fault::kInput, "lora_adapter_metadata of {} has '{}', of no component", where,
            key);
    parts[key.substr(0, dot)][key.substr(dot + 1)] = value;
  }
  Configurations configurations;
  for (const auto& [component, fields] : parts) {
    configurations[component] = peft_config_from(fields, "lora_adapter_metadata of " + where);
    require(configurations[component].method == "LORA", Fault::kInput, "{} holds a {} of {}; only LORA is read", where,
            configurations[component].method, component);
  }
  return configurations;
}

void take(StoredAdapter& adapter, const DiffusersKey& key, const storage::SafetensorsFile& file,
          const storage::TensorEntry& entry) {
  const std::string name = key.component + "." + key.module;
  StoredLayer& layer = adapter.layers[name];
  if (key.factor == kPeftMagnitude) {
    set_peft_magnitude(layer, name, read_array(file, entry));
  } else if (key.factor == "dora_scale") {
    set_dora_scale(layer, name, read_array(file, entry));
  } else {
    layer.dtype = entry.dtype;
    put_factor(layer, name, key.factor, read_array(file, entry));
  }
}

void refuse(const storage::TensorEntry& entry, const std::string& where) {
  require(
      !entry.name.ends_with(".alpha"), Fault::kInput,
      "'{}' of {}: diffusers takes no alpha beside lora_A and lora_B, other programs do, and so the file has no one "
      "meaning; fold alpha / rank into lora_B",
      entry.name, where);
  fail(Fault::kInput, "'{}' of {} is not a tensor of a LoRA or DoRA that diffusers loads", entry.name, where);
}

/// What the metadata says of a layer, where there is any. `path` is the module as the file spells it.
void set_numbers(StoredLayer& layer, const std::string& name, const std::string& path,
                 const Configurations& configurations, const std::string& where) {
  if (configurations.empty()) {
    return;
  }
  const std::string component = name.substr(0, name.find('.'));
  const auto found = configurations.find(component);
  require(found != configurations.end(), Fault::kInput, "lora_adapter_metadata of {} says nothing of {}", where,
          component);
  const PeftConfig& config = found->second;
  require(layer.rank == config.rank_of(path), Fault::kInput,
          "'{}' of {} has the rank {}, but lora_adapter_metadata says {}", name, where, layer.rank,
          config.rank_of(path));
  layer.alpha = config.alpha_of(path);
  layer.scale = config.scale_of(path);
  require(config.decompose == (layer.axis == adapter::Axis::kOutput), Fault::kInput,
          "'{}' of {} {} lora_magnitude_vector, but use_dora of lora_adapter_metadata is {}", name, where,
          layer.axis ? "has a" : "has no", config.decompose);
}

/// diffusers decomposes all layers of a component or none.
void check_decomposition(const StoredAdapter& adapter, const std::string& where) {
  std::map<std::string, bool> decomposed;
  for (const auto& [name, layer] : adapter.layers) {
    const std::string component = name.substr(0, name.find('.'));
    const bool own = layer.axis.has_value();
    const auto entry = decomposed.try_emplace(component, own).first;
    require(entry->second == own, Fault::kInput,
            "{} has magnitudes for some layers of {} and none for '{}': diffusers would decompose all of them", where,
            component, own ? "others" : name);
  }
}

std::filesystem::path file_of(const std::filesystem::path& source) {
  std::error_code code;
  return std::filesystem::is_directory(source, code) ? source / kDiffusersFile : source;
}

}  // namespace

StoredAdapter read_diffusers(const std::filesystem::path& source, const ReadOptions& options) {
  const std::shared_ptr<const storage::SafetensorsFile> file = storage::SafetensorsFile::open(file_of(source));
  const std::string where = file->path().string();
  const Configurations configurations = configurations_of(*file);
  StoredAdapter adapter{.naming = Naming::kHuggingFace, .metadata = file->metadata()};
  std::map<std::string, std::string> paths;  // of layers, as the file spells them
  bool dropped = false;
  for (const storage::TensorEntry& entry : file->tensors()) {
    const std::optional<DiffusersKey> key = parse_diffusers_key(entry.name);
    if (key) {
      dropped = dropped || key->factor == "dora_scale";
      paths[key->component + "." + key->module] = key->path;
      take(adapter, *key, *file, entry);
    } else if (options.allow_partial) {
      adapter.left_out.push_back(entry.name);
    } else {
      refuse(entry, where);
    }
  }
  require(!adapter.layers.empty(), Fault::kInput, "{} holds no tensors of an adapter", where);
  for (auto& [name, layer] : adapter.layers) {
    finish_layer(layer, name);
    set_numbers(layer, name, paths.at(name), configurations, where);
  }
  check_decomposition(adapter, where);
  if (dropped) {
    adapter.warnings.push_back(fmt::format(
        "{} has dora_scale, which diffusers drops: there it is the LoRA without its magnitudes, another function",
        where));
  }
  adapter.family = family_of(adapter);
  return adapter;
}

}  // namespace dormer::interop
