#include <utility>

#include "dormer/core/error.hpp"
#include "fused_layers.hpp"
#include "layer_names.hpp"
#include "names/name_rules.hpp"

namespace dormer::interop {
namespace {

/// Native layers that are several under Hugging Face's names, and which of these are there.
struct FusedLayer {
  std::vector<FusedPart> parts;
  bool rest = false;
};

/// Whether rows of the final layers' kind come in another order.
bool halves_differ(Difference difference, const std::string& name, const StoredLayer& layer) {
  if (difference == Difference::kHalvesSwappedIfTwo) {
    const StoredShape shape = shape_of(name, layer);
    return shape.out == 2 * shape.columns;
  }
  return difference == Difference::kHalvesSwapped;
}

class Renaming {
 public:
  Renaming(const StoredAdapter& adapter, ModelFamily family, Naming naming)
      : family_(family), naming_(naming), rules_(rules_of(family)), result_(adapter) {
    result_.family = family;
    result_.naming = naming;
    result_.layers.clear();
  }

  void take(const std::string& name, const StoredLayer& layer) {
    const LayerName split_name = split_component(name);
    if (rules_.empty() || split_name.component.starts_with("text_encoder")) {
      put(name, layer);
      return;
    }
    const auto found = find_rule(rules_, split_name.module);
    require(found.has_value(), Fault::kUsage,
            "'{}' is no layer of {} that this build knows other names of; leave it out, or export merged weights "
            "(export.for: merged)",
            name, name_of(family_));
    const std::string prefix = split_name.component.empty() ? "" : split_name.component + '.';
    if (naming_ == Naming::kNative) {
      to_native(name, layer, *found, prefix);
    } else {
      to_hugging_face(name, layer, *found, prefix);
    }
  }

  [[nodiscard]] StoredAdapter finished() && {
    for (const auto& [name, layer] : fused_) {
      put(name, fused(name, layer.parts, layer.rest));
    }
    return std::move(result_);
  }

 private:
  void put(const std::string& name, StoredLayer layer) {
    const bool fresh = result_.layers.emplace(name, std::move(layer)).second;
    require(fresh, Fault::kUsage, "'{}' stands there twice, under the names of two namings; leave one of them out",
            name);
  }

  void to_native(const std::string& name, const StoredLayer& layer, const RuleMatch& found, const std::string& prefix) {
    const std::string native = prefix + filled(found.rule->native, found.captures);
    if (!found.hugging_face || (!found.part && !halves_differ(found.rule->difference, name, layer))) {
      put(native, layer);
      return;
    }
    if (!found.part) {
      put(native, with_halves_swapped(name, layer));
      return;
    }
    FusedLayer& fused_layer = fused_[native];
    fused_layer.rest = found.rule->difference == Difference::kThirdsAndRest;
    if (fused_layer.parts.empty()) {
      for (const std::string& part : found.rule->hugging_face) {
        fused_layer.parts.push_back({.name = prefix + filled(part, found.captures)});
      }
    }
    fused_layer.parts[*found.part].layer = &layer;
  }

  void to_hugging_face(const std::string& name, const StoredLayer& layer, const RuleMatch& found,
                       const std::string& prefix) {
    const NameRule& rule = *found.rule;
    if (found.part || rule.hugging_face.size() == 1) {
      const std::string ours = prefix + filled(rule.hugging_face[found.part.value_or(0)], found.captures);
      const bool swap = found.native && !found.hugging_face && halves_differ(rule.difference, name, layer);
      put(ours, swap ? with_halves_swapped(name, layer) : layer);
      return;
    }
    std::vector<StoredLayer> parts = split(name, layer, heights(name, layer, rule));
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (!parts[i].kind.empty()) {
        put(prefix + filled(rule.hugging_face[i], found.captures), std::move(parts[i]));
      }
    }
  }

  [[nodiscard]] static std::vector<std::int64_t> heights(const std::string& name, const StoredLayer& layer,
                                                         const NameRule& rule) {
    const StoredShape shape = shape_of(name, layer);
    const auto count = static_cast<std::int64_t>(rule.hugging_face.size());
    const bool rest = rule.difference == Difference::kThirdsAndRest;
    const std::int64_t third = rest ? shape.columns : shape.out / count;
    const std::int64_t last = shape.out - (count - 1) * third;
    require(
        rest ? last > 0 : last == third, Fault::kUsage,
        "'{}' of {} x {} does not have the rows of the {} layers that it is under other names; the file is of another "
        "model",
        name, shape.out, shape.columns, count);
    std::vector<std::int64_t> result(rule.hugging_face.size(), third);
    result.back() = last;
    return result;
  }

  ModelFamily family_;
  Naming naming_;
  std::vector<NameRule> rules_;
  StoredAdapter result_;
  std::map<std::string, FusedLayer> fused_;
};

}  // namespace

StoredAdapter renamed(const StoredAdapter& adapter, Naming naming) {
  if (adapter.naming == naming) {
    return adapter;
  }
  const ModelFamily family = adapter.family == ModelFamily::kUnknown ? family_of(adapter) : adapter.family;
  if (family == ModelFamily::kUnknown) {
    for (const auto& [name, layer] : adapter.layers) {
      const std::string component = split_component(name).component;
      require(
          component.starts_with("text_encoder"), Fault::kUsage,
          "The layers, such as '{}', do not tell which model they belong to, so their other names are not known; give "
          "the file ss_base_model_version in its metadata (sd_v1, sdxl_base_v1-0, sd3m, flux1)",
          name);
    }
  }
  Renaming renaming(adapter, family, naming);
  for (const auto& [name, layer] : adapter.layers) {
    renaming.take(name, layer);
  }
  return std::move(renaming).finished();
}

}  // namespace dormer::interop
