#include "dormer/adapter/site_plan.hpp"

#include <algorithm>
#include <charconv>
#include <set>

#include <fmt/ranges.h>

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
    std::erase_if(chosen,
                  [&](std::size_t index) { return std::ranges::find(layers, sites[index].layer) == layers.end(); });
  }
  if (!config.exclude.empty()) {
    const std::vector<std::size_t> excluded = match_targets("adapter.exclude", config.exclude, sites);
    std::erase_if(chosen, [&](std::size_t index) { return std::ranges::binary_search(excluded, index); });
  }
  require(!chosen.empty(), Fault::kUsage,
          "adapter.targets, layers and exclude leave no layer to train; choose more of them");
  return chosen;
}

void apply_override(const AdapterConfig& config, const OverrideConfig& wish, std::span<const Site> sites,
                    std::vector<SitePlan>& plans) {
  const std::vector<std::string> pattern{wish.match};
  const std::vector<std::size_t> matched = match_targets("adapter.overrides.match", pattern, sites);
  bool any = false;
  for (SitePlan& plan : plans) {
    if (!std::ranges::binary_search(matched, plan.site)) {
      continue;
    }
    any = true;
    plan.rank = wish.rank.value_or(plan.rank);
    if (!wish.alpha.absent()) {
      const auto width = static_cast<double>(plan.rank);
      plan.alpha = wish.alpha.evaluate({{"rank", width}, {"adapter.rank", static_cast<double>(config.rank)}});
    } else if (wish.rank) {
      plan.alpha = config.alpha_for(plan.rank);
    }
    if (wish.learning_rate) {
      plan.learning_rate = wish.learning_rate;
    }
  }
  require(any, Fault::kUsage, "adapter.overrides: '{}' matches only layers that get no adapter; change the pattern",
          wish.match);
}

void check_plan(const SitePlan& plan, const Site& site) {
  require(plan.rank <= std::min(site.in, site.out), Fault::kUsage,
          "adapter.rank is larger than a layer: rank {}, {} is {} x {}; lower the rank or leave the layer out of "
          "adapter.targets",
          plan.rank, site.name, site.out, site.in);
  require(plan.alpha > 0.0, Fault::kUsage, "adapter.alpha: must be above 0, is {} for {}", plan.alpha, site.name);
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
  std::vector<SitePlan> plans;
  for (const std::size_t index : chosen_sites(config, sites)) {
    plans.push_back({.site = index,
                     .rank = config.rank,
                     .alpha = config.alpha_value(),
                     .dropout = config.dropout,
                     .learning_rate = {}});
  }
  for (const OverrideConfig& wish : config.overrides) {
    apply_override(config, wish, sites, plans);
  }
  for (SitePlan& plan : plans) {
    check_plan(plan, sites[plan.site]);
    plan.scale = config.scale_of(plan.rank, plan.alpha);
  }
  return plans;
}

}  // namespace dormer::adapter
