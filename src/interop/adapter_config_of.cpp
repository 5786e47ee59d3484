#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "dormer/core/error.hpp"
#include "dormer/interop/adapter_values.hpp"
#include "stored_values.hpp"

namespace dormer::interop {

std::string_view family_of_kind(std::string_view kind) {
  return kind == "locon" ? std::string_view("lora") : kind;
}

std::string_view bias_key(const StoredAdapter& stored) {
  std::string_view key = "none";
  for (const auto& [name, layer] : stored.layers) {
    if (layer.kind == adapter::SitePlan::kBiasAlone) {
      return "all";
    }
    key = layer.bias.empty() ? key : "adapter_only";
  }
  return key;
}

namespace {

/// What the keys of LoKr must be so that a layer gets the stored factors' shapes.
void set_kronecker_keys(adapter::AdapterConfig& config, const StoredLayer& layer) {
  config.decompose_both = config.decompose_both || layer.factors.contains("lokr_w1_a");
  const StoredArray& small =
      layer.factors.contains("lokr_w1") ? layer.factors.at("lokr_w1") : layer.factors.at("lokr_w1_a");
  config.factor = std::max(config.factor, small.shape.front());
}

/// Small layers of LoKr have whole factors where the rank would save nothing; those of a full matrix all have.
bool has_low_rank_factor(const StoredLayer& layer) {
  return layer.kind != "lokr" || layer.factors.contains("lokr_w2_a") || layer.factors.contains("lokr_w1_a");
}

std::string alpha_text(const StoredLayer& layer) {
  return fmt::format("{}", plain_alpha(layer));
}

}  // namespace

adapter::AdapterConfig adapter_config_of(const StoredAdapter& stored, const std::string& where) {
  require(!stored.layers.empty(), Fault::kInput, "{} adapts no layer", where);
  adapter::AdapterConfig config;
  config.targets.clear();
  config.bias = bias_key(stored);
  const auto is_usual = [](const auto& entry) {
    return entry.second.kind != "full" && entry.second.kind != adapter::SitePlan::kBiasAlone;
  };
  // One that tells a rank: whole factors of LoKr do not.
  auto usual = std::ranges::find_if(
      stored.layers, [&](const auto& entry) { return is_usual(entry) && has_low_rank_factor(entry.second); });
  if (usual == stored.layers.end()) {
    usual = std::ranges::find_if(stored.layers, is_usual);
  }
  const StoredLayer& first = usual == stored.layers.end() ? stored.layers.begin()->second : usual->second;
  const bool any_convolution =
      std::ranges::any_of(stored.layers, [](const auto& entry) { return entry.second.kind == "locon"; });
  config.kind = first.kind == "lora" && any_convolution ? "locon" : first.kind;
  if (first.rank > 0) {
    config.rank = first.rank;
    config.alpha.text = alpha_text(first);
  }
  for (const auto& [name, layer] : stored.layers) {
    if (layer.kind == adapter::SitePlan::kBiasAlone) {
      continue;
    }
    config.targets.push_back(name);
    const bool same_kind = family_of_kind(layer.kind) == family_of_kind(config.kind);
    const bool same_numbers =
        layer.rank == 0 || !has_low_rank_factor(layer) || (layer.rank == first.rank && layer.scale == first.scale);
    if (!same_kind || !same_numbers) {
      adapter::OverrideConfig& wish = config.overrides.emplace_back();
      wish.match = name;
      if (!same_kind) {
        wish.kind = layer.kind;
      }
      if (layer.rank > 0) {
        wish.rank = layer.rank;
        wish.alpha.text = alpha_text(layer);
      }
    }
    if (layer.kind == "lokr") {
      set_kronecker_keys(config, layer);
    }
    config.tucker = config.tucker || layer.factors.contains("lora_mid") || layer.factors.contains("hada_t1") ||
                    layer.factors.contains("lokr_t2");
    if (layer.axis) {
      require(!config.decompose || config.decompose->axis == name_of(*layer.axis), Fault::kInput,
              "{} has magnitudes of both axes", where);
      config.decompose.emplace();
      config.decompose->axis = name_of(*layer.axis);
    }
  }
  config.full_matrix = first.kind == "lokr" && !has_low_rank_factor(first);
  return config;
}

}  // namespace dormer::interop
