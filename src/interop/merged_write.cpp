#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <nlohmann/json.hpp>

#include "checkpoint_arrays.hpp"
#include "dense_weight.hpp"
#include "dormer/adapter/effective_weight.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/json_extent.hpp"
#include "dormer/interop/merged.hpp"
#include "dormer/model/model_folder.hpp"
#include "dormer/storage/safetensors.hpp"
#include "dormer/tensor/device_memory.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/frozen_product.hpp"
#include "layer_names.hpp"
#include "merged_arrays.hpp"
#include "model_files.hpp"
#include "shard_plan.hpp"
#include "stored_values.hpp"

namespace dormer::interop {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

ArrayChanges changes_of(const adapter::AdapterSet& adapters, const BaseFacts& base) {
  ArrayChanges changes;
  const tensor::FlatSpace& space = adapters.space();
  const auto parameter = [&space](const std::string& name) {
    return tensor::FlatSpace::unpadded_part(space.values(), space.entries()[space.index_of(name)]).cpu();
  };
  for (std::size_t i = 0; i < adapters.site_indices().size() && !base.layers.empty(); ++i) {
    const adapter::FrozenLayer& layer = base.layers[adapters.site_indices()[i]];
    changes[layer.site.name + ".weight"].apply = [&adapters, &layer](const at::Tensor& stored) {
      return adapter::effective_weight(adapters, layer.site, stored);
    };
    if (const std::string bias = layer.site.name + ".bias"; space.contains(bias)) {
      changes[bias].apply = [parameter, bias](const at::Tensor& /*stored*/) { return parameter(bias); };
    }
  }
  if (const adapter::AddedTokens* added = adapters.added_tokens(); added != nullptr) {
    for (const std::string& module : added->modules()) {
      changes[module + ".weight"] = {
          .apply =
              [parameter, module](const at::Tensor& stored) {
                return at::cat({stored.to(at::kFloat), parameter(module + adapter::AddedTokens::kSuffix)}, 0);
              },
          .added_rows = added->count()};
    }
  }
  return changes;
}

at::Tensor values_of(const std::vector<float>& values) {
  return tensor::borrowed(std::span<const float>(values), "cpu");
}

/// Rows of tokens that the table has are replaced; those after its last are added, without a gap.
ArrayChange change_of_table(const std::string& module, const StoredTokens& tokens) {
  return {.apply =
              [&module, &tokens](const at::Tensor& stored) {
                at::Tensor table = stored.to(at::kFloat).clone();
                const at::Tensor rows = values_of(tokens.rows).view({std::ssize(tokens.indices), -1});
                require(rows.size(1) == table.size(1), Fault::kInput,
                        "rows of tokens of '{}' have {} numbers, the model's {}", module, rows.size(1), table.size(1));
                for (std::int64_t i = 0; i < rows.size(0); ++i) {
                  const std::int64_t token = tokens.indices[static_cast<std::size_t>(i)];
                  require(token <= table.size(0), Fault::kInput,
                          "'{}' has a row for token {}, but the model ends at {}", module, token, table.size(0));
                  if (token == table.size(0)) {
                    table = at::cat({table, rows.narrow(0, i, 1)}, 0);
                  } else {
                    table.select(0, token).copy_(rows.select(0, i));
                  }
                }
                return table;
              },
          .added_rows = 0};
}

/// The changes of one layer's arrays, under its name without `prefix` ("unet.").
ArrayChanges changes_of_layer(const std::string& full_name, const StoredLayer& layer, const std::string& prefix) {
  ArrayChanges changes;
  const std::string name = full_name.substr(prefix.size());
  changes[name + ".weight"].apply = [&full_name, &layer](const at::Tensor& weight) {
    return dense_effective_weight(full_name, layer, weight);
  };
  if (!layer.bias.empty()) {
    changes[name + ".bias"].apply = [&values = layer.bias](const at::Tensor& /*own*/) {
      return values_of(values).clone();
    };
  }
  const char* bias = layer.kind == "full" ? "bias" : "diff_b";
  if (const auto found = layer.factors.find(bias); found != layer.factors.end()) {
    changes[name + ".bias"].apply = [&values = found->second.values,
                                     adds = layer.kind == "diff"](const at::Tensor& own) {
      return adds ? own.to(at::kFloat).add(values_of(values)) : values_of(values).clone();
    };
  }
  return changes;
}

/// The changes of the layers that begin with `prefix`, without it.
ArrayChanges changes_of(const StoredAdapter& stored, const std::string& prefix) {
  ArrayChanges changes;
  for (const auto& [full_name, layer] : stored.layers) {
    if (full_name.starts_with(prefix)) {
      changes.merge(changes_of_layer(full_name, layer, prefix));
    }
  }
  for (const auto& [module, tokens] : stored.tokens) {
    if (prefix.empty()) {
      const bool fresh = changes.try_emplace(module + ".weight", change_of_table(module, tokens)).second;
      require(fresh, Fault::kInput,
              "'{}' has rows of tokens and another change, which are not merged together; merge "
              "it in PEFT",
              module);
    }
  }
  return changes;
}

void write_text(const fs::path& path, const std::string& text) {
  write_new_file(path, std::as_bytes(std::span(text)));
}

/// The model's own, in the spelling that it has (transformers 5 says dtype, 4 says torch_dtype).
std::string config_text(const ModelPart& part, std::optional<std::int64_t> vocabulary, DType dtype) {
  const fs::path& folder = part.folder;
  const std::string text = read_file(folder / "config.json", "model configuration");
  require_shallow_json(text, (folder / "config.json").string());
  nlohmann::ordered_json root = nlohmann::ordered_json::parse(text, nullptr, false);
  require(root.is_object(), Fault::kInput, "{} is not a JSON object", (folder / "config.json").string());
  root[root.contains("torch_dtype") ? "torch_dtype" : "dtype"] = name_of(dtype);
  if (vocabulary) {
    root["vocab_size"] = *vocabulary;
  }
  if (part.unties_head) {
    root["tie_word_embeddings"] = false;
  }
  return root.dump(2) + "\n";
}

bool is_table_or_head(const std::string& layer) {
  return layer == "model.embed_tokens" || layer == "lm_head";
}

/// Whether the head, which is the embedding, gets an array of its own: the embedding or it has an adapter of its own,
/// which the other one does not follow in training.
template <typename Layers>
bool unties_head(const Layers& adapted, const fs::path& model) {
  return std::ranges::any_of(adapted, is_table_or_head) &&
         !storage::SafetensorsSet::open_folder(model).find(kHeadArray).has_value();
}

/// A folder of transformers: weights, configuration, tokenizer.
void write_model(const ModelPart& part, const fs::path& target, std::optional<std::int64_t> vocabulary,
                 const MergedForm& form) {
  write_folder(target, "config.json", [&](const fs::path& temporary) {
    write_part(part, temporary, form);
    write_text(temporary / "config.json", config_text(part, vocabulary, form.dtype));
    std::error_code code;
    if (fs::is_regular_file(part.folder / "generation_config.json", code)) {
      write_text(temporary / "generation_config.json",
                 read_file(part.folder / "generation_config.json", "generation configuration"));
    }
    copy_tokenizer(part.folder, temporary);
  });
}

void require_model_dtype(DType dtype) {
  require(is_float(dtype) && dtype != DType::kF64, Fault::kUsage,
          "export.dtype {} is none for a model; write float32, bfloat16 or float16", name_of(dtype));
}

/// CLIP's arrays lost the first part of their paths in transformers 5, which also saves them so; adapters keep it.
ArrayChanges under_own_names(ArrayChanges changes, const ModelPart& encoder) {
  constexpr std::string_view kOlder = "text_model.";
  const storage::SafetensorsSet files = storage::SafetensorsSet::open_folder(encoder.folder, encoder.stem);
  ArrayChanges renamed;
  for (auto& [name, change] : changes) {
    const bool newer = name.starts_with(kOlder) && !files.find(name) && files.find(name.substr(kOlder.size()));
    renamed[newer ? name.substr(kOlder.size()) : name] = std::move(change);
  }
  return renamed;
}

/// Whether a component's weights are views into a checkpoint elsewhere, which nobody else reads.
bool is_seen_elsewhere(const fs::path& component) {
  std::error_code code;
  return fs::exists(component / "model.view.json", code) ||
         fs::exists(component / "diffusion_pytorch_model.view.json", code);
}

/// The components of a diffusers folder that are written anew: those that hold adapted layers. `all` has the changes
/// under names that begin with their component.
std::vector<std::pair<std::string, ModelPart>> pipeline_parts(ArrayChanges all, const fs::path& model) {
  std::vector<std::pair<std::string, ModelPart>> parts;
  for (const char* component : {"unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3", "vae"}) {
    const std::string prefix = std::string(component) + ".";
    ArrayChanges changes;
    for (auto change = all.lower_bound(prefix); change != all.end() && change->first.starts_with(prefix); ++change) {
      changes[change->first.substr(prefix.size())] = std::move(change->second);
    }
    if (!changes.empty() || is_seen_elsewhere(model / component)) {
      const bool encoder = std::string_view(component).starts_with("text_encoder");
      ModelPart part{.folder = model / component, .stem = encoder ? "model" : "diffusion_pytorch_model"};
      part.changes = encoder ? under_own_names(std::move(changes), part) : std::move(changes);
      parts.emplace_back(component, std::move(part));
    }
  }
  return parts;
}

/// Everything of a component but its weights, or all of it where nothing adapts it.
void copy_component(const fs::path& from, const fs::path& to, const ModelPart* merged) {
  fs::create_directories(to);
  for (const fs::directory_entry& entry : fs::directory_iterator(from)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_directory()) {
      copy_component(entry.path(), to / name, nullptr);
    } else if (merged == nullptr || (name.find(".safetensors") == std::string::npos && !name.ends_with(".view.json"))) {
      fs::copy_file(fs::canonical(entry.path()), to / name);
    }
  }
}

/// A folder of diffusers: the adapted components merged, the others copied.
void write_pipeline(ArrayChanges changes, const fs::path& model, const fs::path& target, const MergedForm& form) {
  const std::vector<std::pair<std::string, ModelPart>> parts = pipeline_parts(std::move(changes), model);
  write_folder(target, "model_index.json", [&](const fs::path& temporary) {
    for (const fs::directory_entry& entry : fs::directory_iterator(model)) {
      if (holds(entry.path(), temporary)) {
        continue;  // where the result goes is no part of the model
      }
      const std::string name = entry.path().filename().string();
      const auto part = std::ranges::find_if(parts, [&](const auto& known) { return known.first == name; });
      if (entry.is_directory()) {
        copy_component(entry.path(), temporary / name, part == parts.end() ? nullptr : &part->second);
      } else if (!name.ends_with(".safetensors")) {  // a checkpoint in one file would be the unmerged model
        fs::copy_file(fs::canonical(entry.path()), temporary / name);
      }
    }
    for (const auto& [component, part] : parts) {
      write_part(part, temporary / component, form);
    }
  });
}

/// Of the folder that `write_pipeline` makes.
std::int64_t pipeline_bytes(ArrayChanges changes, const fs::path& model, DType dtype) {
  const std::vector<std::pair<std::string, ModelPart>> parts = pipeline_parts(std::move(changes), model);
  std::int64_t bytes = 0;
  for (const auto& [component, part] : parts) {
    bytes += part_bytes(part, dtype);
  }
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(model)) {
    const std::string component = *entry.path().lexically_relative(model).begin();
    const bool written = std::ranges::any_of(parts, [&](const auto& part) { return part.first == component; });
    bytes += entry.is_regular_file() && !written ? static_cast<std::int64_t>(entry.file_size()) : 0;
  }
  return bytes;
}

/// One change of the rows of an array after the other.
ArrayChange change_of_parts(std::vector<std::pair<ArrayPlace, ArrayChange>> parts) {
  return {.apply = [parts = std::move(parts)](const at::Tensor& stored) {
    if (parts.size() == 1 && parts.front().first.parts == 1) {
      return parts.front().second.apply(stored);
    }
    const at::Tensor whole = stored.to(at::kFloat).clone();
    for (const auto& [place, change] : parts) {
      const std::int64_t rows = whole.size(0) / place.parts;
      whole.narrow(0, place.part * rows, rows).copy_(change.apply(stored.narrow(0, place.part * rows, rows)));
    }
    return whole;
  }};
}

/// Every change under the name that its array has in a checkpoint of one file.
ArrayChanges changes_in_checkpoint(const StoredAdapter& stored, const fs::path& model,
                                   const storage::SafetensorsSet& files) {
  const auto has = [&files](const std::string& name) { return files.find(name).has_value(); };
  std::map<std::string, std::vector<std::pair<ArrayPlace, ArrayChange>>> parts;
  for (const auto& [full_name, layer] : stored.layers) {
    const LayerName name = split_component(full_name);
    const std::string prefix = full_name.substr(0, full_name.size() - name.module.size());
    for (auto& [array, change] : changes_of_layer(full_name, layer, prefix)) {
      const std::optional<ArrayPlace> place = place_in_checkpoint(name.component, array, has);
      require(
          place.has_value(), Fault::kInput,
          "the checkpoint {} has no array for {} of the adapter's layer '{}'; is it another model's, or one without "
          "that part?",
          model.string(), array, full_name);
      parts[place->name].emplace_back(*place, std::move(change));
    }
  }
  ArrayChanges changes;
  for (auto& [array, of_array] : parts) {
    changes[array] = change_of_parts(std::move(of_array));
  }
  return changes;
}

/// A checkpoint of one file, whose layers of an image model have native names, or those of diffusers.
void write_checkpoint(const StoredAdapter& adapter, const fs::path& target, const fs::path& model, DType dtype) {
  require(target.extension() == ".safetensors", Fault::kUsage,
          "{} does not end in .safetensors, as the file that is written must", target.string());
  const storage::SafetensorsSet files = storage::SafetensorsSet::open_file(model);
  require(adapter.tokens.empty() && !(std::ranges::any_of(std::views::keys(adapter.layers), is_table_or_head) &&
                                      !files.find(kHeadArray).has_value()),
          Fault::kUsage,
          "the adapter changes the embedding or the head of a language model, which its config.json must know; name "
          "the model's folder in the place of {}",
          model.string());
  const bool native = std::ranges::any_of(files.names(), [](const std::string& name) {
    return name.find("input_blocks.") != std::string::npos || name.find("joint_blocks.") != std::string::npos ||
           name.find("double_blocks.") != std::string::npos;
  });
  const Naming naming = native ? Naming::kNative : Naming::kHuggingFace;
  const StoredAdapter named = adapter.naming == naming ? adapter : renamed(adapter, naming);
  write_one_file({.folder = model, .changes = changes_in_checkpoint(named, model, files)}, target, dtype);
}

}  // namespace

std::int64_t merged_bytes(const adapter::AdapterSet& adapters, const fs::path& model_folder, DType dtype) {
  const BaseFacts base{.hub_id = {}, .folder = model_folder, .linear_layers = {}};
  if (model::is_pipeline(model_folder)) {
    ArrayChanges changes;
    for (const std::string& site : adapters.site_names()) {
      changes[site + ".weight"] = {};
    }
    return pipeline_bytes(std::move(changes), model_folder, dtype);
  }
  return part_bytes({.folder = model_folder,
                     .changes = changes_of(adapters, base),
                     .unties_head = unties_head(adapters.site_names(), model_folder)},
                    dtype);
}

void write_merged(const adapter::AdapterSet& adapters, const fs::path& folder, const BaseFacts& base,
                  const MergedForm& form) {
  const tensor::NoRecording guard;
  require_model_dtype(form.dtype);
  if (model::is_pipeline(base.folder)) {
    write_pipeline(changes_of(adapters, base), base.folder, folder, form);
    return;
  }
  const adapter::AddedTokens* added = adapters.added_tokens();
  write_model({.folder = base.folder,
               .changes = changes_of(adapters, base),
               .unties_head = unties_head(adapters.site_names(), base.folder)},
              folder, added == nullptr ? std::nullopt : std::optional(added->first_token() + added->count()), form);
}

void write_merged(const StoredAdapter& adapter, const fs::path& folder, const fs::path& model, const MergedForm& form) {
  const tensor::NoRecording guard;
  require_model_dtype(form.dtype);
  std::error_code code;
  if (fs::is_regular_file(model, code)) {
    write_checkpoint(adapter, folder, model, form.dtype);
    return;
  }
  const StoredAdapter named = adapter.naming == Naming::kHuggingFace ? adapter : renamed(adapter, Naming::kHuggingFace);
  if (dormer::model::is_pipeline(model)) {
    write_pipeline(changes_of(named, ""), model, folder, form);
    return;
  }
  std::optional<std::int64_t> vocabulary;
  const storage::SafetensorsSet files = storage::SafetensorsSet::open_folder(model);
  for (const auto& [module, tokens] : named.tokens) {
    if (const auto table = files.find(module + ".weight"); table && !tokens.indices.empty()) {
      vocabulary = std::max(table->entry->shape.at(0), *std::ranges::max_element(tokens.indices) + 1);
    }
  }
  write_model({.folder = model,
               .changes = changes_of(named, ""),
               .unties_head = unties_head(std::views::keys(named.layers), model)},
              folder, vocabulary, form);
}

}  // namespace dormer::interop
