#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "diffusers_names.hpp"
#include "dormer/core/error.hpp"
#include "dormer/interop/diffusers.hpp"
#include "dormer/storage/safetensors.hpp"
#include "layer_names.hpp"
#include "peft_names.hpp"
#include "stored_values.hpp"

namespace dormer::interop {
namespace {

using Json = nlohmann::json;

void require_layer(const std::string& name, const StoredLayer& layer) {
  require(!split_component(name).component.empty(), Fault::kUsage,
          "'{}' is in no part of an image model, which is what diffusers adapts; write the adapter for peft", name);
  require(layer.kind == "lora" || layer.kind == "locon", Fault::kUsage,
          "diffusers' file holds lora and locon, and '{}' is a {}; write it for kohya, or merge the adapter", name,
          layer.kind);
  require(!layer.factors.contains("lora_mid"), Fault::kUsage,
          "diffusers has no Tucker form ('{}'); write it for kohya, or train with adapter.tucker: false the next time",
          name);
  require(!layer.factors.contains("lora_embedding_A"), Fault::kUsage,
          "diffusers loads no LoRA of an embedding ('{}'); merge the adapter instead", name);
  require(!layer.axis || *layer.axis == adapter::Axis::kOutput, Fault::kUsage,
          "diffusers computes the norms of output rows, and '{}' has magnitudes of input channels; write it for kohya, "
          "or train with adapter.decompose.axis: output the next time",
          name);
}

/// Layers by component.
std::map<std::string, std::vector<std::string>> parts_of(const StoredAdapter& adapter) {
  std::map<std::string, std::vector<std::string>> parts;
  for (const auto& [name, layer] : adapter.layers) {
    parts[split_component(name).component].push_back(name);
  }
  return parts;
}

void require_one_decomposition(const StoredAdapter& adapter) {
  for (const auto& [component, names] : parts_of(adapter)) {
    const bool decomposed = adapter.layers.at(names.front()).axis.has_value();
    for (const std::string& name : names) {
      require(adapter.layers.at(name).axis.has_value() == decomposed, Fault::kUsage,
              "diffusers decomposes all layers of {} or none, and '{}' is unlike the others; write it for kohya, or "
              "merge the adapter",
              component, name);
    }
  }
}

/// How LoraConfig names a layer. Newer versions of transformers have CLIP's layers without "text_model.", and diffusers
/// renames those of the arrays alone: an end of the path serves both. Other paths are anchored in patterns, as
/// diffusers does it, since one may be the end of another.
struct ConfigurationName {
  std::string target;
  std::string pattern;
};

ConfigurationName configuration_name(const std::string& component, const std::string& module) {
  constexpr std::string_view kClip = "text_model.";
  if (component.starts_with("text_encoder") && module.starts_with(kClip)) {
    return {module.substr(kClip.size()), module.substr(kClip.size())};
  }
  return {module, "^" + module};
}

/// LoraConfig's fields of one component, with which PEFT computes alpha / rank = 1 everywhere.
void add_configuration(Json& root, const std::string& component, const std::vector<std::string>& names,
                       const StoredAdapter& adapter) {
  std::map<std::int64_t, std::size_t> counts;
  for (const std::string& name : names) {
    ++counts[adapter.layers.at(name).rank];
  }
  const std::int64_t usual =
      std::ranges::max_element(counts, {}, [](const auto& entry) { return entry.second; })->first;
  Json pattern = Json::object();
  Json targets = Json::array();
  for (const std::string& name : names) {
    const ConfigurationName spelled = configuration_name(component, split_component(name).module);
    targets.push_back(spelled.target);
    if (adapter.layers.at(name).rank != usual) {
      pattern[spelled.pattern] = adapter.layers.at(name).rank;
    }
  }
  const auto set = [&](const char* field, const Json& value) { root[component + "." + field] = value; };
  set("alpha_pattern", pattern);
  set("bias", "none");
  set("lora_alpha", usual);
  set("peft_type", "LORA");
  set("r", usual);
  set("rank_pattern", pattern);
  set("target_modules", targets);
  set("use_dora", adapter.layers.at(names.front()).axis.has_value());
  set("use_rslora", false);
}

std::string metadata_text(const StoredAdapter& adapter) {
  Json root = Json::object();
  for (const auto& [component, names] : parts_of(adapter)) {
    add_configuration(root, component, names, adapter);
  }
  return root.dump(2);
}

ArrayList collect(const StoredAdapter& adapter, DType dtype) {
  ArrayList result;
  for (const auto& [name, layer] : adapter.layers) {
    result.add(diffusers_key(name, "lora_A"), layer.factors.at("lora_A"), dtype);
    result.add(diffusers_key(name, "lora_B"), scaled(up_of(layer), layer.scale), dtype);
    if (layer.axis) {
      result.add(diffusers_key(name, std::string(kPeftMagnitude)), peft_magnitude(layer), dtype);
    }
  }
  return result;
}

}  // namespace

void require_diffusers(const StoredAdapter& adapter) {
  require(!adapter.layers.empty() && adapter.tokens.empty(), Fault::kUsage,
          "diffusers' file holds adapted layers, and no rows of added tokens");
  const StoredAdapter named = adapter.naming == Naming::kHuggingFace ? adapter : renamed(adapter, Naming::kHuggingFace);
  for (const auto& [name, layer] : named.layers) {
    require_layer(name, layer);
  }
  require_one_decomposition(named);
}

void write_diffusers(const StoredAdapter& adapter, const std::filesystem::path& file, const WriteRequest& request) {
  require_diffusers(adapter);
  const StoredAdapter named = renamed(adapter, Naming::kHuggingFace);
  const ArrayList arrays = collect(named, request.dtype);
  const storage::Metadata metadata{{"format", "pt"}, {"lora_adapter_metadata", metadata_text(named)}};
  write_arrays(file, arrays, metadata);
  invariant(read_diffusers(file).layers.size() == named.layers.size(), "{} does not hold the adapter's layers",
            file.string());
}

}  // namespace dormer::interop
