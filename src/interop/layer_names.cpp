#include "layer_names.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <set>
#include <utility>
#include <vector>

#include "dormer/core/error.hpp"
#include "names/name_rules.hpp"

namespace dormer::interop {
namespace {

constexpr std::array kImageModels{ModelFamily::kSd1, ModelFamily::kSdxl, ModelFamily::kSd3, ModelFamily::kFlux};

std::set<std::string, std::less<>> first_parts(ModelFamily family) {
  std::set<std::string, std::less<>> result;
  for (const NameRule& rule : rules_of(family)) {
    result.emplace(parts_of(rule.native).front());
    for (const std::string& name : rule.hugging_face) {
      result.emplace(parts_of(name).front());
    }
  }
  return result;
}

bool is_part_of_transformer(std::string_view module) {
  static const std::set<std::string, std::less<>> kParts = [] {
    auto parts = first_parts(ModelFamily::kSd3);
    parts.merge(first_parts(ModelFamily::kFlux));
    return parts;
  }();
  return kParts.contains(parts_of(module).front());
}

/// Every path part of the known models that is no number, longest first.
std::vector<std::string> all_parts() {
  std::set<std::string, std::less<>> known;
  const auto add = [&known](std::string_view path) {
    for (const std::string_view part : parts_of(path)) {
      known.emplace(part);
    }
  };
  for (const ModelFamily family : kImageModels) {
    for (const NameRule& rule : rules_of(family)) {
      add(rule.native);
      std::ranges::for_each(rule.hugging_face, add);
    }
  }
  std::ranges::for_each(further_parts(), add);
  std::vector<std::string> parts;
  std::ranges::copy_if(known, std::back_inserter(parts), [](const std::string& part) {
    return part != "{}" && part != "*" && part.find_first_not_of("0123456789") != std::string::npos;
  });
  std::ranges::stable_sort(parts, std::greater{}, &std::string::size);
  return parts;
}

/// Cuts a flat name into known parts, from the left, the longest first, and goes back where that leads nowhere.
class FlatName {
 public:
  FlatName(std::string_view flat, const std::vector<std::string>& known)
      : flat_(flat), known_(known), dead_(flat.size() + 1, false) {}

  [[nodiscard]] std::optional<std::string> dotted() {
    if (flat_.empty() || !cut(0)) {
      return {};
    }
    std::string result(flat_);
    for (const std::size_t begin : begins_) {
      if (begin > 0) {
        result[begin - 1] = '.';
      }
    }
    return result;
  }

 private:
  bool cut(std::size_t begin) {
    if (begin > flat_.size() || dead_[begin]) {
      return false;
    }
    begins_.push_back(begin);
    const std::string_view rest = flat_.substr(begin);
    const std::size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
    if (digits > 0 && ends(rest, digits)) {
      if (digits == rest.size() || cut(begin + digits + 1)) {
        return true;
      }
    }
    for (const std::string& part : known_) {
      if (rest.starts_with(part) && ends(rest, part.size()) &&
          (part.size() == rest.size() || cut(begin + part.size() + 1))) {
        return true;
      }
    }
    begins_.pop_back();
    dead_[begin] = true;
    return false;
  }

  static bool ends(std::string_view rest, std::size_t size) { return size == rest.size() || rest[size] == '_'; }

  std::string_view flat_;
  const std::vector<std::string>& known_;
  std::vector<bool> dead_;  // places from which no way leads to the end
  std::vector<std::size_t> begins_;
};

bool is_denoiser(std::string_view component) {
  return component.empty() || component == "unet" || component == "transformer";
}

bool is_unet(ModelFamily family) {
  return family == ModelFamily::kSd1 || family == ModelFamily::kSdxl;
}

using Families = std::vector<ModelFamily>;

void keep(Families& families, const std::function<bool(ModelFamily)>& wanted) {
  std::erase_if(families, [&wanted](ModelFamily family) { return !wanted(family); });
}

Families families_by_names(const std::vector<LayerName>& names) {
  Families families(kImageModels.begin(), kImageModels.end());
  for (const ModelFamily family : kImageModels) {
    const std::vector<NameRule> rules = rules_of(family);
    const bool knows_all = std::ranges::all_of(names, [&](const LayerName& name) {
      return !is_denoiser(name.component) ||
             ((name.component.empty() || (name.component == "unet") == is_unet(family)) &&
              find_rule(rules, name.module));
    });
    keep(families, [&](ModelFamily other) { return other != family || knows_all; });
  }
  for (const LayerName& name : names) {
    const bool t5 = name.module.starts_with("encoder.");
    if (name.component == "text_encoder_2") {
      keep(families, [t5](ModelFamily family) {
        return t5 ? family == ModelFamily::kFlux : family == ModelFamily::kSdxl || family == ModelFamily::kSd3;
      });
    } else if (name.component == "text_encoder_3") {
      keep(families, [](ModelFamily family) { return !is_unet(family); });
    }
  }
  return families;
}

ModelFamily family_said(const storage::Metadata& metadata) {
  const std::array<std::pair<std::string_view, ModelFamily>, 7> words{{{"sdxl", ModelFamily::kSdxl},
                                                                       {"sd_v1", ModelFamily::kSd1},
                                                                       {"sd3", ModelFamily::kSd3},
                                                                       {"flux1", ModelFamily::kFlux},
                                                                       {"stable-diffusion-v1", ModelFamily::kSd1},
                                                                       {"stable-diffusion-xl", ModelFamily::kSdxl},
                                                                       {"stable-diffusion-3", ModelFamily::kSd3}}};
  for (const char* key : {"ss_base_model_version", "modelspec.architecture"}) {
    const auto found = metadata.find(key);
    if (found == metadata.end()) {
      continue;
    }
    for (const auto& [word, family] : words) {
      if (found->second.starts_with(word)) {
        return family;
      }
    }
    if (found->second.starts_with("flux-1") || found->second.starts_with("Flux.1")) {
      return ModelFamily::kFlux;
    }
  }
  return ModelFamily::kUnknown;
}

/// By what the released models' attention reads: text of CLIP's widths, or the transformer's own state.
ModelFamily family_by_width(std::string_view module, std::int64_t columns) {
  constexpr std::int64_t kClipL = 768;
  constexpr std::int64_t kClipLAndG = 2048;
  constexpr std::int64_t kFluxHidden = 3072;
  constexpr std::array<std::int64_t, 2> kSd3Hidden{1536, 2432};
  const bool reads_text = module.ends_with(".attn2.to_k") || module.ends_with(".attn2.to_v");
  if (reads_text && module.find(".transformer_blocks.") != std::string_view::npos) {
    return columns == kClipL ? ModelFamily::kSd1 : columns == kClipLAndG ? ModelFamily::kSdxl : ModelFamily::kUnknown;
  }
  if (module.starts_with("transformer_blocks.") && module.find(".attn.") != std::string_view::npos) {
    return columns == kFluxHidden                                          ? ModelFamily::kFlux
           : columns == kSd3Hidden.front() || columns == kSd3Hidden.back() ? ModelFamily::kSd3
                                                                           : ModelFamily::kUnknown;
  }
  return ModelFamily::kUnknown;
}

}  // namespace

LayerName split_component(std::string_view layer) {
  constexpr std::string_view kTransformer = "transformer";
  for (const std::string_view component : {std::string_view("unet"), kTransformer, std::string_view("text_encoder"),
                                           std::string_view("text_encoder_2"), std::string_view("text_encoder_3")}) {
    if (layer.size() > component.size() + 1 && layer.starts_with(component) && layer[component.size()] == '.') {
      const std::string_view module = layer.substr(component.size() + 1);
      if (component != kTransformer || is_part_of_transformer(module)) {
        return {.component = std::string(component), .module = std::string(module)};
      }
    }
  }
  return {.component = {}, .module = std::string(layer)};
}

std::string flat_name(std::string_view module) {
  std::string flat(module);
  std::ranges::replace(flat, '.', '_');
  return flat;
}

std::optional<std::string> dotted_name(std::string_view flat) {
  static const std::vector<std::string> kKnown = all_parts();
  return FlatName(flat, kKnown).dotted();
}

ModelFamily family_of(const StoredAdapter& adapter) {
  std::vector<LayerName> names;
  for (const auto& [name, layer] : adapter.layers) {
    names.push_back(split_component(name));
  }
  Families families = families_by_names(names);
  const bool no_component = std::ranges::all_of(names, [](const LayerName& name) { return name.component.empty(); });
  if (no_component && (names.empty() || families.empty())) {
    return names.empty() && adapter.tokens.empty() ? ModelFamily::kUnknown : ModelFamily::kLanguage;
  }
  if (families.size() > 1 && std::ranges::count(families, family_said(adapter.metadata)) > 0) {
    return family_said(adapter.metadata);
  }
  for (const auto& [name, layer] : adapter.layers) {
    if (families.size() > 1) {
      const ModelFamily seen = family_by_width(split_component(name).module, shape_of(name, layer).columns);
      if (std::ranges::count(families, seen) > 0) {
        families = {seen};
      }
    }
  }
  return families.size() == 1 ? families.front() : ModelFamily::kUnknown;
}

Naming naming_of(const StoredAdapter& adapter) {
  std::string hugging_face;
  std::string native;
  const ModelFamily family = adapter.family == ModelFamily::kUnknown ? family_of(adapter) : adapter.family;
  std::vector<NameRule> rules;
  for (const ModelFamily known : kImageModels) {
    if (family == ModelFamily::kUnknown || family == known) {
      std::ranges::move(rules_of(known), std::back_inserter(rules));
    }
  }
  for (const auto& [layer, content] : adapter.layers) {
    const LayerName name = split_component(layer);
    const auto found = is_denoiser(name.component) ? find_rule(rules, name.module) : std::nullopt;
    if (found && found->hugging_face != found->native) {
      (found->native ? native : hugging_face) = layer;
    }
  }
  require(
      native.empty() || hugging_face.empty(), Fault::kInput,
      "'{}' and '{}' are names of two namings, of which programs read one and drop the other; put the layers into two "
      "files",
      hugging_face, native);
  return native.empty() ? Naming::kHuggingFace : Naming::kNative;
}

}  // namespace dormer::interop
