#include "peft_config_text.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <nlohmann/json.hpp>

#include "dormer/interop/peft.hpp"
#include "peft_kronecker.hpp"
#include "peft_numbers.hpp"
#include "stored_values.hpp"

namespace dormer::interop {
namespace {

/// PEFT's wrapper for that task asks more of a model than to be one of some layers.
bool is_causal_model(const StoredAdapter& adapter) {
  const auto of_model = [](const std::string& name) { return name.starts_with("model.") || name == "lm_head"; };
  return std::ranges::any_of(adapter.layers, [&](const auto& entry) { return of_model(entry.first); }) ||
         std::ranges::any_of(adapter.tokens, [&](const auto& entry) { return of_model(entry.first); });
}

using Json = nlohmann::json;

Json number(double value) {
  return value == std::floor(value) && std::abs(value) < 0x1p53 ? Json(static_cast<std::int64_t>(value)) : Json(value);
}

/// PEFT takes a pattern's key as a regular expression for the end of a module path. A whole name says what it means
/// unless another one ends with it; the anchor, which not every version knows, is for that.
std::string pattern_of(const PeftNumbers& numbers, const std::string& name) {
  const bool is_end =
      std::ranges::any_of(numbers.layers, [&](const auto& other) { return other.first.ends_with("." + name); });
  return is_end ? "^" + name : name;
}

Json rank_pattern(const PeftNumbers& numbers) {
  Json result = Json::object();
  for (const auto& [name, pair] : numbers.layers) {
    if (pair.rank != numbers.usual.rank) {
      result[pattern_of(numbers, name)] = pair.rank;
    }
  }
  return result;
}

Json alpha_pattern(const PeftNumbers& numbers) {
  Json result = Json::object();
  for (const auto& [name, pair] : numbers.layers) {
    if (pair.alpha != numbers.usual.alpha) {
      result[pattern_of(numbers, name)] = number(pair.alpha);
    }
  }
  return result;
}

std::vector<std::string> names_of(const StoredAdapter& adapter, bool whole) {
  std::vector<std::string> names;
  for (const auto& [name, layer] : adapter.layers) {
    if (layer.kind != "bias" && (layer.kind == "full") == whole) {
      names.push_back(name);
    }
  }
  return names;
}

/// PEFT refuses a LoRA without any target, but for this word.
Json target_modules(const std::vector<std::string>& names, const BaseFacts& base) {
  return names.empty() ? Json("dummy-target-modules") : Json(peft_target_modules(names, base.linear_layers));
}

/// A tied head follows the embedding by itself.
Json token_indices(const StoredAdapter& adapter) {
  Json result = Json::object();
  for (const auto& [module, tokens] : adapter.tokens) {
    result[module.substr(module.rfind('.') + 1)] = tokens.indices;
  }
  return result;
}

std::string method_of(const StoredAdapter& adapter) {
  for (const auto& [name, layer] : adapter.layers) {
    if (layer.kind == "loha" || layer.kind == "lokr") {
      return layer.kind == "loha" ? "LOHA" : "LOKR";
    }
  }
  return "LORA";
}

/// What the configurations of all methods have.
Json shared_fields(const StoredAdapter& adapter, const WriteRequest& request, const PeftNumbers& numbers) {
  const Json none = nullptr;
  const std::vector<std::string> whole = names_of(adapter, true);
  const std::optional<std::string>& base = request.base.hub_id ? request.base.hub_id : adapter.base;
  return Json{{"alpha_pattern", alpha_pattern(numbers)},
              {"auto_mapping", none},
              {"base_model_name_or_path", base ? Json(*base) : none},
              {"inference_mode", true},
              {"layers_pattern", none},
              {"layers_to_transform", none},
              {"modules_to_save", whole.empty() ? none : Json(whole)},
              {"peft_type", method_of(adapter)},
              {"r", numbers.usual.rank},
              {"rank_pattern", rank_pattern(numbers)},
              {"revision", none},
              {"target_modules", target_modules(names_of(adapter, false), request.base)},
              {"task_type", is_causal_model(adapter) ? Json("CAUSAL_LM") : none}};
}

/// Only fields that PEFT has had since it knows DoRA (0.9): older ones refuse what they do not know.
void add_lora_fields(Json& root, const StoredAdapter& adapter, const PeftNumbers& numbers) {
  const std::string_view bias = bias_key(adapter);
  root["bias"] = bias == "adapter_only" ? "lora_only" : bias;
  root["fan_in_fan_out"] = false;
  root["init_lora_weights"] = true;
  root["lora_alpha"] = number(numbers.usual.alpha);
  root["lora_dropout"] = 0.0;
  root["use_dora"] = adapter.decomposed();
  root["use_rslora"] = numbers.rank_stabilized;
  if (!adapter.tokens.empty()) {  // a newer field than the others, so only where it says something
    root["trainable_token_indices"] = token_indices(adapter);
  }
}

void add_product_fields(Json& root, const PeftNumbers& numbers, bool tucker) {
  root["alpha"] = number(numbers.usual.alpha);
  root["init_weights"] = true;
  root["module_dropout"] = 0.0;
  root["rank_dropout"] = 0.0;
  root["use_effective_conv2d"] = tucker;
}

}  // namespace

std::string peft_config_text(const StoredAdapter& adapter, const WriteRequest& request) {
  const std::string method = method_of(adapter);
  const PeftKronecker kronecker = method == "LOKR" ? peft_kronecker(adapter, request.base) : PeftKronecker{};
  const PeftNumbers numbers = peft_numbers(adapter, kronecker.decompose_both);
  Json root = shared_fields(adapter, request, numbers);
  if (method == "LORA") {
    add_lora_fields(root, adapter, numbers);
  } else if (method == "LOHA") {
    add_product_fields(root, numbers, std::ranges::any_of(adapter.layers, [](const auto& entry) {
                         return entry.second.factors.contains("hada_t1");
                       }));
  } else {
    add_product_fields(root, numbers, kronecker.tucker);
    root["decompose_both"] = kronecker.decompose_both;
    root["decompose_factor"] = kronecker.decompose_factor;
    root["rank_dropout_scale"] = false;
  }
  return root.dump(2) + "\n";
}

}  // namespace dormer::interop
