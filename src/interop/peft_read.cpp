#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "dormer/core/error.hpp"
#include "dormer/interop/peft.hpp"
#include "dormer/storage/safetensors.hpp"
#include "peft_config.hpp"
#include "peft_names.hpp"

namespace dormer::interop {
namespace {

at::ScalarType scalar_type(const storage::TensorEntry& entry, const std::string& where) {
  switch (entry.dtype) {
    case DType::kF16:
      return at::kHalf;
    case DType::kBF16:
      return at::kBFloat16;
    case DType::kF32:
      return at::kFloat;
    case DType::kF64:
      return at::kDouble;
    default:
      fail(Fault::kInput, "'{}' of {} has the dtype {}, not one of a trained factor", entry.name, where,
           safetensors_name(entry.dtype));
  }
}

// Copies (a tensor of a file need not be aligned), widens to fp32 and looks for what is not a number.
std::vector<float> floats_of(const storage::SafetensorsFile& file, const storage::TensorEntry& entry) {
  const std::string where = file.path().string();
  const std::span<const std::byte> bytes = file.bytes(entry);
  const auto count = static_cast<std::int64_t>(bytes.size() / size_of(entry.dtype));
  const at::Tensor raw = at::empty({count}, scalar_type(entry, where));
  std::ranges::copy(bytes, static_cast<std::byte*>(raw.mutable_data_ptr()));
  const at::Tensor wide = raw.to(at::kFloat);
  const float* values = wide.const_data_ptr<float>();
  std::vector<float> result(values, values + count);
  const bool finite = std::ranges::all_of(result, [](float value) { return std::isfinite(value); });
  require(finite, Fault::kInput, "'{}' of {} holds values that are not finite; the training that wrote it had failed",
          entry.name, where);
  return result;
}

void take(PeftLayer& layer, PeftTensor kind, const storage::SafetensorsFile& file, const storage::TensorEntry& entry) {
  const std::size_t dimensions = kind == PeftTensor::kMagnitude ? 1 : 2;
  require(entry.shape.size() == dimensions, Fault::kInput,
          "'{}' of {} has {} dimensions instead of {}; only linear layers are read", entry.name, file.path().string(),
          entry.shape.size(), dimensions);
  std::vector<float>& values = kind == PeftTensor::kFactorA   ? layer.factor_a
                               : kind == PeftTensor::kFactorB ? layer.factor_b
                                                              : layer.magnitude;
  require(values.empty(), Fault::kInput, "'{}' of {} stands there twice, with and without '.weight'", entry.name,
          file.path().string());
  values = floats_of(file, entry);
  require(!values.empty(), Fault::kInput, "'{}' of {} is empty", entry.name, file.path().string());
  if (kind == PeftTensor::kFactorA) {
    layer.rank = entry.shape[0];
    layer.in = entry.shape[1];
  } else if (kind == PeftTensor::kFactorB) {
    layer.out = entry.shape[0];
  }
}

// A tensor of a module that was trained whole.
void take(PeftModule& module, PeftTensor kind, const storage::SafetensorsFile& file,
          const storage::TensorEntry& entry) {
  const std::size_t dimensions = kind == PeftTensor::kBias ? 1 : 2;
  require(entry.shape.size() == dimensions, Fault::kInput, "'{}' of {} has {} dimensions instead of {}", entry.name,
          file.path().string(), entry.shape.size(), dimensions);
  (kind == PeftTensor::kBias ? module.bias : module.weight) = floats_of(file, entry);
  if (kind == PeftTensor::kWeight) {
    module.shape = entry.shape;
  }
}

PeftTokens take_tokens(std::vector<std::int64_t> indices, const storage::SafetensorsFile& file,
                       const storage::TensorEntry& entry) {
  require(!indices.empty() && entry.shape.size() == 2 && entry.shape.front() == std::ssize(indices), Fault::kInput,
          "'{}' of {} does not have one row for each of the {} trainable_token_indices of adapter_config.json",
          entry.name, file.path().string(), indices.size());
  return {.indices = std::move(indices), .rows = floats_of(file, entry)};
}

void check_module(const std::string& name, const PeftModule& module, const std::string& where) {
  const auto wanted = module.shape.empty() ? std::size_t{0} : static_cast<std::size_t>(module.shape.front());
  require(!module.weight.empty() && (module.bias.empty() || module.bias.size() == wanted), Fault::kInput,
          "{} lacks the weight of '{}', or its bias is of another length", where, name);
}

// Every layer must be whole, and as wide as the configuration says.
void check_layer(const std::string& name, const PeftLayer& layer, const PeftConfig& config, const std::string& where) {
  require(!layer.factor_a.empty() && !layer.factor_b.empty(), Fault::kInput, "{} lacks lora_A or lora_B of '{}'", where,
          name);
  const std::int64_t rank = config.rank_of(name);
  require(layer.rank == rank && static_cast<std::int64_t>(layer.factor_b.size()) == layer.out * rank, Fault::kInput,
          "'{}' of {} has the rank {}, but adapter_config.json says {}; the two files do not belong together", name,
          where, layer.rank, rank);
  const auto wanted = config.decompose ? static_cast<std::size_t>(layer.out) : 0;
  require(layer.magnitude.size() == wanted, Fault::kInput,
          "'{}' of {} has {} magnitudes where use_dora: {} and {} outputs ask for {}", name, where,
          layer.magnitude.size(), config.decompose, layer.out, wanted);
}

}  // namespace

PeftAdapter read_peft(const std::filesystem::path& folder) {
  const PeftConfig config = read_peft_config(folder / "adapter_config.json");
  const std::filesystem::path path = folder / "adapter_model.safetensors";
  std::error_code code;
  require(std::filesystem::exists(path, code) || !std::filesystem::exists(folder / "adapter_model.bin", code),
          Fault::kInput, "{} holds a pickled adapter_model.bin, which can run code; save it as safetensors",
          folder.string());
  const std::shared_ptr<const storage::SafetensorsFile> file = storage::SafetensorsFile::open(path);
  PeftAdapter adapter{.decompose = config.decompose, .layers = {}, .modules = {}, .tokens = {}};
  for (const storage::TensorEntry& entry : file->tensors()) {
    const std::optional<PeftKey> key = parse_peft_key(entry.name);
    const bool of_module = key && (key->tensor == PeftTensor::kWeight || key->tensor == PeftTensor::kBias);
    require(key && (!of_module || config.saves(key->layer)), Fault::kInput,
            "'{}' of {} is not a tensor of LoRA or DoRA on a linear layer, nor of one in modules_to_save", entry.name,
            path.string());
    if (key->tensor == PeftTensor::kTokens) {
      adapter.tokens[key->layer] = take_tokens(config.tokens_of(key->layer), *file, entry);
    } else if (of_module) {
      take(adapter.modules[key->layer], key->tensor, *file, entry);
    } else {
      take(adapter.layers[key->layer], key->tensor, *file, entry);
    }
  }
  require(!adapter.layers.empty() || !adapter.modules.empty(), Fault::kInput, "{} holds no tensors", path.string());
  for (const auto& [name, module] : adapter.modules) {
    check_module(name, module, path.string());
  }
  for (const std::string& end : config.modules_to_save) {
    require(std::ranges::any_of(adapter.modules, [&](const auto& module) { return module.first.ends_with(end); }),
            Fault::kInput, "adapter_config.json names '{}' in modules_to_save, but {} has no weight of it", end,
            path.string());
  }
  for (auto& [name, layer] : adapter.layers) {
    check_layer(name, layer, config, path.string());
    layer.alpha = config.alpha_of(name);
    layer.scale = config.scale_of(name);
  }
  return adapter;
}

}  // namespace dormer::interop
