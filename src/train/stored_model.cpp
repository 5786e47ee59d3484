#include "dormer/train/stored_model.hpp"

#include "dormer/comm/single.hpp"
#include "dormer/core/error.hpp"
#include "dormer/interop/peft.hpp"
#include "dormer/model/model_folder.hpp"
#include "dormer/tensor/process.hpp"
#include "train/placement.hpp"

namespace dormer::train {
namespace {

DType compute_dtype(const std::string& name, const Placement& placement) {
  if (name == "auto") {
    return placement.gpu || tensor::cpu_has_bfloat16() ? DType::kBF16 : DType::kF32;
  }
  const std::optional<DType> dtype = dtype_from_name(name);
  require(dtype == DType::kF32 || dtype == DType::kBF16, Fault::kUsage,
          "the model cannot be computed in '{}'; use auto, float32 or bfloat16", name);
  return *dtype;
}

}  // namespace

adapter::AdapterConfig stored_adapter_config(const std::filesystem::path& folder) {
  const interop::PeftAdapter stored = interop::read_peft(folder);
  adapter::AdapterConfig config;
  config.targets.clear();
  config.kind = stored.layers.empty() ? "full" : "lora";
  for (const auto& [name, module] : stored.modules) {
    config.targets.push_back(name);
    if (!stored.layers.empty()) {
      config.overrides.push_back({.match = name, .kind = "full"});
    }
  }
  if (stored.layers.empty()) {
    return config;
  }
  const interop::PeftLayer& first = stored.layers.begin()->second;
  const auto alpha_text = [](const interop::PeftLayer& layer) {  // of a plain scale, whatever the file's rule was
    const auto width = static_cast<double>(layer.rank);
    return fmt::format("{}", layer.alpha / width == layer.scale ? layer.alpha : layer.scale * width);
  };
  config.rank = first.rank;
  config.alpha.text = alpha_text(first);
  for (const auto& [name, layer] : stored.layers) {
    config.targets.push_back(name);
    if (layer.rank != first.rank || layer.scale != first.scale) {
      adapter::OverrideConfig& wish = config.overrides.emplace_back();
      wish.match = name;
      wish.rank = layer.rank;
      wish.alpha.text = alpha_text(layer);
    }
  }
  if (stored.decompose) {
    config.decompose.emplace();
  }
  return config;
}

adapter::AddedTokensRequest stored_added_tokens(const std::filesystem::path& folder,
                                                const model::LanguageModel& model) {
  const interop::PeftAdapter stored = interop::read_peft(folder);
  if (stored.tokens.empty()) {
    return {};
  }
  const bool tied = model.head().name() == model.embedding().name();
  return {.count = std::ssize(stored.tokens.begin()->second.indices),
          .embedding = model.embedding(),
          .head = tied ? tensor::BaseWeight() : model.head()};
}

StoredModel load_stored_model(const StoredModelRequest& request) {
  StoredModel result;
  result.folder = model::resolve_model_folder(request.model);
  const Placement placement = take_device(*comm::single(), request.device);
  result.model = model::load_language_model(
      result.folder, {.dtype = compute_dtype(request.dtype, placement), .device = placement.device});
  if (request.adapter) {
    result.adapters.emplace(stored_adapter_config(*request.adapter), result.model->layers(), RandomKey{},
                            stored_added_tokens(*request.adapter, *result.model));
    interop::load_adapter_into(*result.adapters, *request.adapter);
    result.adapters->refresh();
  }
  return result;
}

}  // namespace dormer::train
