#include "dormer/adapter/site_plan.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <set>

#include <fmt/ranges.h>

#include "dormer/adapter/kinds.hpp"
#include "dormer/core/error.hpp"
#include "match_targets.hpp"

namespace dormer::adapter {
namespace {

/// One number at the beginning of `text`, which it takes away.
std::int64_t take_number(std::string_view& text, const std::string& whole) {
  std::int64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  require(code == std::errc{} && value >= 0, Fault::kUsage,
          "adapter.layers: '{}' is no list of blocks; write numbers and ranges, such as 8-31 or 0,2,4-7", whole);
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

/// What only its own name chooses: block numbers say nothing about it.
bool is_outside_of_blocks(const Site& site) {
  return site.layer < 0 &&
         (site.form == LayerForm::kEmbedding || site.form == LayerForm::kHead || site.form == LayerForm::kNorm);
}

std::vector<std::size_t> chosen_sites(const AdapterConfig& config, std::span<const Site> sites) {
  std::vector<std::size_t> chosen = match_targets("adapter.targets", config.targets, sites);
  require(!chosen.empty(), Fault::kUsage, "adapter.targets is empty: name at least one pattern, such as all-linear");
  if (config.layers) {
    const std::vector<std::int64_t> layers = parse_layers(*config.layers);
    std::int64_t last = -1;
    for (const Site& site : sites) {
      last = std::max(last, site.layer);
    }
    for (const std::int64_t layer : layers) {
      require(layer <= last, Fault::kUsage, "adapter.layers: {} names block {}, but the model's last block is {}",
              *config.layers, layer, last);
    }
    std::erase_if(chosen, [&](std::size_t index) {
      return !is_outside_of_blocks(sites[index]) && std::ranges::find(layers, sites[index].layer) == layers.end();
    });
  }
  if (!config.exclude.empty()) {
    const std::vector<std::size_t> excluded = match_targets("adapter.exclude", config.exclude, sites);
    std::erase_if(chosen, [&](std::size_t index) { return std::ranges::binary_search(excluded, index); });
  }
  require(!chosen.empty(), Fault::kUsage,
          "adapter.targets, layers and exclude leave no layer to train; choose more of them");
  return chosen;
}

/// What all overrides together say about one layer, and which pattern said it.
struct Wishes {
  OverrideConfig merged;
  std::map<std::string_view, std::string> said_by;
};

struct OverrideAtSite {
  const OverrideConfig& wish;
  const Site& site;
};

template <typename T>
void merge(std::string_view key, std::optional<T> OverrideConfig::*member, const OverrideAtSite& at, Wishes& wishes) {
  const std::optional<T>& value = at.wish.*member;
  if (!value) {
    return;
  }
  const std::string& said_by = wishes.said_by.try_emplace(key, at.wish.match).first->second;
  std::optional<T>& merged = wishes.merged.*member;
  require(!merged || *merged == *value, Fault::kUsage,
          "adapter.overrides: '{}' and '{}' contradict each other: both match {}, with {} {} and {}; narrow one of the "
          "patterns",
          said_by, at.wish.match, at.site.name, key, merged.value_or(T{}), *value);
  merged = value;
}

void merge_alpha(const OverrideAtSite& at, Wishes& wishes) {
  if (at.wish.alpha.absent()) {
    return;
  }
  const std::string& said_by = wishes.said_by.try_emplace("alpha", at.wish.match).first->second;
  require(
      wishes.merged.alpha.absent() || wishes.merged.alpha.text == at.wish.alpha.text, Fault::kUsage,
      "adapter.overrides: '{}' and '{}' contradict each other: both match {}, with alpha {} and {}; narrow one of the "
      "patterns",
      said_by, at.wish.match, at.site.name, wishes.merged.alpha.text, at.wish.alpha.text);
  wishes.merged.alpha = at.wish.alpha;
}

/// The wishes of each chosen site, in their order.
std::vector<Wishes> collect_wishes(const AdapterConfig& config, std::span<const std::size_t> chosen,
                                   std::span<const Site> sites) {
  std::vector<Wishes> all(chosen.size());
  for (const OverrideConfig& wish : config.overrides) {
    const std::vector<std::string> pattern{wish.match};
    const std::vector<std::size_t> matched = match_targets("adapter.overrides.match", pattern, sites);
    bool any = false;
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      if (!std::ranges::binary_search(matched, chosen[i])) {
        continue;
      }
      any = true;
      const OverrideAtSite at{wish, sites[chosen[i]]};
      merge("kind", &OverrideConfig::kind, at, all[i]);
      merge("rank", &OverrideConfig::rank, at, all[i]);
      merge_alpha(at, all[i]);
      merge("dropout", &OverrideConfig::dropout, at, all[i]);
      merge("rank_dropout", &OverrideConfig::rank_dropout, at, all[i]);
      merge("module_dropout", &OverrideConfig::module_dropout, at, all[i]);
      merge("learning_rate", &OverrideConfig::learning_rate, at, all[i]);
      merge("stop_after", &OverrideConfig::stop_after, at, all[i]);
    }
    require(any, Fault::kUsage, "adapter.overrides: '{}' matches only layers that get no adapter; change the pattern",
            wish.match);
  }
  return all;
}

constexpr std::string_view form_name(LayerForm form) {
  switch (form) {
    case LayerForm::kLinear:
      return "linear layer";
    case LayerForm::kConvolution:
      return "convolution";
    case LayerForm::kEmbedding:
      return "embedding";
    case LayerForm::kNorm:
      return "norm";
    case LayerForm::kHead:
      return "head";
  }
  return "layer";
}

/// Whether some form of the kind serves the layer, whole and decomposed as the configuration asks.
void require_served(const AdapterConfig& config, const AdapterKind& kind, const SitePlan& plan, const Site& site) {
  const bool pointwise = kind.pointwise && site.form == LayerForm::kConvolution && site.taps() == 1;
  require(pointwise || std::ranges::find(kind.forms, site.form) != kind.forms.end(), Fault::kUsage,
          "adapter.kind: {} has no form for {}, which is a {}; choose another kind (locon and lokr serve convolutions, "
          "lora embeddings, full also norms and heads), or leave the layer out of adapter.targets",
          plan.kind, site.name, form_name(site.form));
  require(config.start == "kaiming" || kind.whole || (plan.kind == "lora" && site.form == LayerForm::kLinear),
          Fault::kUsage,
          "adapter.start: {} is a start of kind: lora on linear layers, and {} ({}) has kind: {}; leave it out of "
          "adapter.targets, or write adapter: {{start: kaiming}}",
          config.start, site.name, form_name(site.form), plan.kind);
  require(site.form != LayerForm::kEmbedding || !config.decompose || config.axis() == Axis::kOutput, Fault::kUsage,
          "adapter.decompose.axis: {} is an embedding, which has no input channels; leave it out of adapter.targets",
          site.name);
}

/// Kernels of one tap count as linear layers, as in kohya's scripts and LyCORIS.
bool has_kernel(const Site& site) {
  return site.form == LayerForm::kConvolution && site.taps() > 1;
}

std::int64_t rank_of(const AdapterConfig& config, const Site& site) {
  return has_kernel(site) ? config.conv_rank.value_or(config.rank) : config.rank;
}

double alpha_of(const AdapterConfig& config, const Site& site, std::int64_t rank) {
  if (has_kernel(site) && !config.conv_alpha.absent()) {
    const auto width = static_cast<double>(rank);
    return config.conv_alpha.evaluate({{"rank", width}, {"adapter.rank", static_cast<double>(config.rank)}});
  }
  return config.alpha_for(rank);
}

SitePlan plan_site(const AdapterConfig& config, const Wishes& wishes, const Site& site) {
  const OverrideConfig& wish = wishes.merged;
  SitePlan plan{.site = site.index, .learning_rate = wish.learning_rate, .stop_after = wish.stop_after};
  plan.kind = wish.kind.value_or(config.kind);
  const AdapterKind kind = adapter_kinds().get("adapter.kind", plan.kind);
  require_served(config, kind, plan, site);
  plan.whole = kind.whole;
  if (plan.whole) {
    for (const char* key : {"rank", "alpha", "dropout", "rank_dropout", "module_dropout"}) {
      const auto said = wishes.said_by.find(key);
      require(said == wishes.said_by.end(), Fault::kUsage,
              "adapter.overrides: '{}' gives {} a {}, but its kind is {}, which has none; take it away",
              said == wishes.said_by.end() ? "" : said->second, site.name, key, plan.kind);
    }
    return plan;
  }
  plan.rank = wish.rank.value_or(rank_of(config, site));
  const std::map<std::string, double> widths{{"rank", static_cast<double>(plan.rank)},
                                             {"adapter.rank", static_cast<double>(config.rank)}};
  plan.alpha = wish.alpha.absent() ? alpha_of(config, site, plan.rank) : wish.alpha.evaluate(widths);
  // As PEFT: the input of an embedding is token ids.
  plan.dropout = site.form == LayerForm::kEmbedding ? 0.0 : wish.dropout.value_or(config.dropout);
  plan.rank_dropout = wish.rank_dropout.value_or(config.rank_dropout);
  plan.module_dropout = wish.module_dropout.value_or(config.module_dropout);
  plan.decompose = config.decompose.has_value();
  plan.bias = site.biased && config.bias != "none";
  plan.axis = config.axis();
  require(kind.any_rank || plan.rank <= std::min(site.columns(), site.out), Fault::kUsage,
          "adapter.rank is larger than a layer: rank {}, {} is {}; lower the rank or leave the layer out of "
          "adapter.targets",
          plan.rank, site.name, site.shape_text());
  require(plan.alpha > 0.0, Fault::kUsage, "adapter.alpha: must be above 0, is {} for {}", plan.alpha, site.name);
  plan.scale = config.scale_of(plan.rank, plan.alpha);
  return plan;
}

/// Keys of the whole adapter that no layer would follow.
void require_followed(const AdapterConfig& config, std::span<const SitePlan> plans) {
  const bool low_rank = std::ranges::any_of(plans, [](const SitePlan& plan) { return !plan.whole; });
  require(low_rank || !config.decompose, Fault::kUsage,
          "adapter.decompose: kind: {} trains the weights themselves, which have nothing to decompose; take "
          "decompose away",
          config.kind);
  const std::map<std::string_view, double> rates{
      {"dropout", config.dropout}, {"rank_dropout", config.rank_dropout}, {"module_dropout", config.module_dropout}};
  for (const auto& [key, rate] : rates) {
    require(low_rank || rate == 0.0, Fault::kUsage, "adapter.{}: kind: {} has none; take {} away", key, config.kind,
            key);
  }
  require(!config.rank_dropout_scale ||
              std::ranges::any_of(plans, [](const SitePlan& plan) { return plan.rank_dropout > 0.0; }),
          Fault::kUsage, "adapter.rank_dropout_scale: no rank_dropout is above 0; write one, or take the scale away");
  const std::map<std::string_view, bool> asked{{"tucker", config.tucker},
                                               {"conv_rank", config.conv_rank.has_value()},
                                               {"conv_alpha", !config.conv_alpha.absent()},
                                               {"factor", config.factor != -1},
                                               {"decompose_both", config.decompose_both},
                                               {"full_matrix", config.full_matrix},
                                               {"start", config.start != "kaiming"}};
  const Registry<AdapterKind> kinds = adapter_kinds();
  for (const auto& [key, is_asked] : asked) {
    const bool followed = std::ranges::any_of(plans, [&, name = key](const SitePlan& plan) {
      const std::vector<std::string_view> options = kinds.get("adapter.kind", plan.kind).options;
      return std::ranges::find(options, name) != options.end();
    });
    require(!is_asked || followed, Fault::kUsage, "adapter.{}: kind: {} has none; take {} away", key, config.kind, key);
  }
}

/// What `bias` adds: layers whose bias alone trains. Refused where no bias would train that does not without the key.
void add_biases(const AdapterConfig& config, std::span<const Site> sites, std::vector<SitePlan>& plans) {
  if (config.bias == "none") {
    return;
  }
  if (config.bias == "all") {
    const std::vector<SitePlan> adapted = plans;
    for (const Site& site : sites) {
      if (site.biased && std::ranges::find(adapted, site.index, &SitePlan::site) == adapted.end()) {
        SitePlan& plan = plans.emplace_back();
        plan.site = site.index;
        plan.kind = SitePlan::kBiasAlone;
        plan.bias = true;
      }
    }
    std::ranges::sort(plans, {}, &SitePlan::site);
  }
  require(std::ranges::any_of(plans, &SitePlan::bias), Fault::kUsage,
          "adapter.bias: {} names biases, but no layer {} has one; take the key away", config.bias,
          config.bias == "all" ? "of the model" : "that gets an adapter");
}

}  // namespace

std::vector<std::int64_t> parse_layers(const std::string& text) {
  std::set<std::int64_t> layers;
  std::string_view rest = text;
  while (true) {
    const std::int64_t first = take_number(rest, text);
    std::int64_t last = first;
    if (rest.starts_with('-')) {
      rest.remove_prefix(1);
      last = take_number(rest, text);
    }
    require(last >= first && last < 100'000, Fault::kUsage,
            "adapter.layers: '{}' has a range that ends before it begins, or beyond every model", text);
    for (std::int64_t layer = first; layer <= last; ++layer) {
      layers.insert(layer);
    }
    if (rest.empty()) {
      return {layers.begin(), layers.end()};
    }
    require(rest.starts_with(','), Fault::kUsage,
            "adapter.layers: '{}' is no list of blocks; write numbers and ranges, such as 8-31 or 0,2,4-7", text);
    rest.remove_prefix(1);
  }
}

std::vector<SitePlan> plan_sites(const AdapterConfig& config, std::span<const Site> sites) {
  const std::vector<std::size_t> chosen = chosen_sites(config, sites);
  const std::vector<Wishes> wishes = collect_wishes(config, chosen, sites);
  std::vector<SitePlan> plans;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    plans.push_back(plan_site(config, wishes[i], sites[chosen[i]]));
  }
  require_followed(config, plans);
  add_biases(config, sites, plans);
  return plans;
}

}  // namespace dormer::adapter
