#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/interop/peft.hpp"
#include "dormer/storage/safetensors.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "model_files.hpp"
#include "peft_config.hpp"
#include "peft_names.hpp"

namespace dormer::interop {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// Arrays with the tensors that own their bytes.
struct OwnedArrays {
  std::vector<at::Tensor> owners;
  std::vector<storage::NamedArray> arrays;
};

at::ScalarType scalar_type(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return at::kFloat;
    case DType::kBF16:
      return at::kBFloat16;
    case DType::kF16:
      return at::kHalf;
    default:
      fail(Fault::kUsage, "export.dtype {} is none that PEFT loads; write float32, bfloat16 or float16",
           name_of(dtype));
  }
}

void add(OwnedArrays& result, const tensor::FlatSpace& space, const PeftKey& key, const std::string& parameter,
         DType dtype) {
  const tensor::ParameterEntry& entry = space.entries()[space.index_of(parameter)];
  at::Tensor values = tensor::FlatSpace::unpadded_part(space.values(), entry);
  if (key.tensor == PeftTensor::kFactorB) {
    values = values.t();  // stored [rank, out]
  }
  values = values.to(scalar_type(dtype)).contiguous().cpu();
  const auto bytes = static_cast<std::size_t>(values.numel()) * size_of(dtype);
  result.arrays.push_back({.name = peft_key(key),
                           .dtype = dtype,
                           .shape = values.sizes().vec(),
                           .bytes = {static_cast<const std::byte*>(values.const_data_ptr()), bytes}});
  result.owners.push_back(std::move(values));
}

OwnedArrays collect(const adapter::AdapterSet& adapters, DType dtype) {
  const tensor::NoRecording guard;
  OwnedArrays result;
  const tensor::FlatSpace& space = adapters.space();
  if (adapters.added_tokens() != nullptr) {
    for (const std::string& module : adapters.added_tokens()->modules()) {
      add(result, space, {module, PeftTensor::kTokens}, module + adapter::AddedTokens::kSuffix, dtype);
    }
  }
  for (std::size_t i = 0; i < adapters.plans().size(); ++i) {
    const std::string& site = adapters.site_names()[i];
    if (adapters.plans()[i].whole) {
      add(result, space, {site, PeftTensor::kWeight}, site + ".weight", dtype);
      if (space.contains(site + ".bias")) {
        add(result, space, {site, PeftTensor::kBias}, site + ".bias", dtype);
      }
      continue;
    }
    add(result, space, {site, PeftTensor::kFactorA}, site + ".lora_A", dtype);
    add(result, space, {site, PeftTensor::kFactorB}, site + ".lora_B", dtype);
    if (adapters.plans()[i].decompose) {
      add(result, space, {site, PeftTensor::kMagnitude}, site + ".magnitude", dtype);
    }
  }
  return result;
}

Json number(double value) {
  return value == std::floor(value) && std::abs(value) < 0x1p53 ? Json(static_cast<std::int64_t>(value)) : Json(value);
}

// PEFT takes a pattern's key as a regular expression for the end of a module path; whole names say what they mean.
template <typename Value>
Json deviations(const adapter::AdapterSet& adapters, Value usual, Value adapter::SitePlan::*member) {
  Json result = Json::object();
  for (std::size_t i = 0; i < adapters.plans().size(); ++i) {
    const Value value = adapters.plans()[i].*member;
    if (!adapters.plans()[i].whole && value != usual) {
      result[adapters.site_names()[i]] = number(static_cast<double>(value));
    }
  }
  return result;
}

std::vector<std::string> names_of(const adapter::AdapterSet& adapters, bool whole) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < adapters.plans().size(); ++i) {
    if (adapters.plans()[i].whole == whole) {
      names.push_back(adapters.site_names()[i]);
    }
  }
  return names;
}

// PEFT refuses a LoRA without any target, but for this word.
Json target_modules(const std::vector<std::string>& names, const BaseFacts& base) {
  return names.empty() ? Json("dummy-target-modules") : Json(peft_target_modules(names, base.linear_layers));
}

// A tied head follows the embedding by itself.
Json token_indices(const adapter::AddedTokens& tokens) {
  std::vector<std::int64_t> indices(static_cast<std::size_t>(tokens.count()));
  std::iota(indices.begin(), indices.end(), tokens.first_token());
  Json result = Json::object();
  for (const std::string& module : tokens.modules()) {
    result[module.substr(module.rfind('.') + 1)] = indices;
  }
  return result;
}

// Only fields that PEFT has had since it knows DoRA (0.9): older ones refuse what they do not know.
std::string config_text(const adapter::AdapterSet& adapters, const BaseFacts& base) {
  const adapter::AdapterConfig& config = adapters.config();
  const Json none = nullptr;
  const std::vector<std::string> whole = names_of(adapters, true);
  Json root{{"alpha_pattern", deviations(adapters, config.alpha_value(), &adapter::SitePlan::alpha)},
            {"auto_mapping", none},
            {"base_model_name_or_path", base.hub_id ? Json(*base.hub_id) : none},
            {"bias", "none"},
            {"fan_in_fan_out", false},
            {"inference_mode", true},
            {"init_lora_weights", true},
            {"layers_pattern", none},
            {"layers_to_transform", none},
            {"lora_alpha", number(config.alpha_value())},
            {"lora_dropout", config.dropout},
            {"modules_to_save", whole.empty() ? none : Json(whole)},
            {"peft_type", "LORA"},
            {"r", config.rank},
            {"rank_pattern", deviations(adapters, config.rank, &adapter::SitePlan::rank)},
            {"revision", none},
            {"target_modules", target_modules(names_of(adapters, false), base)},
            {"task_type", "CAUSAL_LM"},
            {"use_dora", config.decompose.has_value()},
            {"use_rslora", config.rank_stabilized}};
  if (adapters.added_tokens() != nullptr) {  // a newer field than the others, so only where it says something
    root["trainable_token_indices"] = token_indices(*adapters.added_tokens());
  }
  return root.dump(2) + "\n";
}

void write_text(const fs::path& path, const std::string& text) {
  write_new_file(path, std::as_bytes(std::span(text)));
}

// Reads what is on disk with our own reader: every tensor's bytes, and the numbers of the configuration.
void compare(const fs::path& folder, const OwnedArrays& wanted, const adapter::AdapterSet& adapters) {
  const auto file = storage::SafetensorsFile::open(folder / "adapter_model.safetensors");
  bool same = file->tensors().size() == wanted.arrays.size();
  for (const storage::NamedArray& array : wanted.arrays) {
    const storage::TensorEntry* entry = file->find(array.name);
    same = same && entry != nullptr && entry->dtype == array.dtype && entry->shape == array.shape &&
           std::ranges::equal(file->bytes(*entry), array.bytes);
  }
  require(same, Fault::kIo, "{} does not read back as it was written; is the disk or the file system failing?",
          file->path().string());
  const PeftAdapter back = read_peft(folder);
  const adapter::AdapterConfig& config = adapters.config();
  same = back.decompose == config.decompose.has_value() &&
         back.layers.size() + back.modules.size() == adapters.site_names().size() &&
         back.tokens.size() == (adapters.added_tokens() == nullptr ? 0 : adapters.added_tokens()->modules().size());
  for (std::size_t i = 0; i < adapters.plans().size(); ++i) {
    if (adapters.plans()[i].whole) {
      same = same && back.modules.contains(adapters.site_names()[i]);
      continue;
    }
    const auto entry = back.layers.find(adapters.site_names()[i]);
    same = same && entry != back.layers.end() && entry->second.rank == adapters.plans()[i].rank &&
           entry->second.scale == adapters.plans()[i].scale;
  }
  invariant(same, "the configuration in {} is not the run's", folder.string());
}

}  // namespace

std::int64_t tokenizer_bytes(const fs::path& folder) {
  std::int64_t bytes = 0;
  for (const std::string_view name : kTokenizerFiles) {
    std::error_code code;
    if (!folder.empty() && fs::is_regular_file(folder / name, code)) {
      bytes += static_cast<std::int64_t>(fs::file_size(folder / name, code));
    }
  }
  return bytes;
}

void write_peft(const adapter::AdapterSet& adapters, const fs::path& folder, const BaseFacts& base, DType dtype) {
  for (const adapter::SitePlan& plan : adapters.plans()) {
    require(plan.kind == "lora" || plan.kind == "full", Fault::kUsage,
            "PEFT's LoRA folder cannot hold an adapter of kind '{}'", plan.kind);
  }
  const OwnedArrays arrays = collect(adapters, dtype);
  write_folder(folder, "adapter_config.json", [&](const fs::path& temporary) {
    storage::write_safetensors(temporary / "adapter_model.safetensors", arrays.arrays, {{"format", "pt"}});
    write_text(temporary / "adapter_config.json", config_text(adapters, base));
    copy_tokenizer(base.folder, temporary);
    compare(temporary, arrays, adapters);
  });
}

}  // namespace dormer::interop
