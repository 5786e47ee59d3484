#include "dormer/adapter/adapter_set.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/stack.h>

#include "adapter.hpp"
#include "dormer/adapter/kinds.hpp"
#include "dormer/core/error.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/process.hpp"
#include "part_dropout.hpp"

namespace dormer::adapter {

struct AdapterSet::State {
  AdapterConfig config;
  tensor::FlatSpace space;  // before the adapters: they refer to it
  std::vector<std::size_t> site_indices;
  std::vector<std::string> names;
  std::vector<SitePlan> plans;
  std::map<std::size_t, Adapter> adapters;
  std::vector<FrozenLayer> layers;       // in the order of the plans
  std::map<std::size_t, Adapter> drawn;  // of sites of which the present update leaves something out
  bool is_drawn = false;
  std::unique_ptr<AddedTokens> tokens;  // null: none
  std::uint64_t refreshed = 0;          // the generation that the caches belong to
};

namespace {

ChangeRequest change_request(const AdapterConfig& config, const SitePlan& plan, const FrozenLayer& layer,
                             StartOrigin origin) {
  StartRule start = config.start_rule();
  start.origin = origin;
  return {.layer = layer,
          .rank = plan.rank,
          .scale = plan.scale,
          .tucker = config.tucker,
          .factor = config.factor,
          .decompose_both = config.decompose_both,
          .full_matrix = config.full_matrix,
          .start = start};
}

}  // namespace

void AdapterSet::add_parameters(State& set, const AdapterConfig& config, std::span<const FrozenLayer> layers,
                                const AddedTokensRequest& tokens, StartOrigin start) {
  std::vector<Site> sites;
  for (const FrozenLayer& layer : layers) {
    sites.push_back(layer.site);
    sites.back().biased = layer.bias.defined();
  }
  const Registry<AdapterKind> kinds = adapter_kinds();
  set.config = config;
  set.plans = plan_sites(config, sites);
  for (const SitePlan& plan : set.plans) {
    const LayerForm form = layers[plan.site].site.form;
    require(tokens.count == 0 || (form != LayerForm::kEmbedding && form != LayerForm::kHead), Fault::kUsage,
            "adapter.targets: {} cannot train beside the rows of its added tokens; leave it out, or take "
            "model.added_tokens away",
            layers[plan.site].site.name);
  }
  if (tokens.count > 0) {  // first: their gradients come last
    set.tokens = std::make_unique<AddedTokens>(tokens, set.space);
  }
  for (const SitePlan& plan : set.plans) {
    const FrozenLayer& layer = layers[plan.site];
    const std::size_t first = set.space.entries().size();
    std::unique_ptr<Change> change =
        plan.kind == SitePlan::kBiasAlone
            ? unchanged_weight(layer)
            : kinds.get("adapter.kind", plan.kind).build(change_request(config, plan, layer, start), set.space);
    std::unique_ptr<Decomposition> decomposition;
    if (plan.decompose) {
      decomposition = std::make_unique<Decomposition>(
          layer, DecompositionRule{plan.axis, config.epsilon(), config.norm_gradient(), config.rounds_magnitude()},
          set.space);
    }
    const bool trains_bias = plan.bias || (plan.whole && layer.bias.defined());
    std::shared_ptr<TrainedBias> bias = trains_bias ? std::make_shared<TrainedBias>(layer, set.space) : nullptr;
    set.site_indices.push_back(plan.site);
    set.names.push_back(layer.site.name);
    set.layers.push_back(layer);
    set.space.set_updates(first, plan.learning_rate, plan.stop_after);
    set.adapters.try_emplace(plan.site, std::move(change), std::move(decomposition),
                             Adapter::Parameters{set.space, first, set.space.entries().size()},
                             Adapter::Dropout{plan.dropout, config.whole_dropout()}, std::move(bias));
  }
}

std::int64_t AdapterSet::flat_elements(const AdapterConfig& config, std::span<const FrozenLayer> layers,
                                       const AddedTokensRequest& tokens) {
  State set;
  add_parameters(set, config, layers, tokens, StartOrigin::kGiven);
  constexpr std::int64_t kBlock = tensor::FlatSpace::kNormBlock;
  return (set.space.size() + kBlock - 1) / kBlock * kBlock;
}

AdapterSet::AdapterSet(const AdapterConfig& config, std::span<const FrozenLayer> layers, RandomKey seed,
                       const AddedTokensRequest& tokens, StartOrigin start)
    : state_(std::make_unique<State>()) {
  const tensor::NoRecording guard;
  add_parameters(*state_, config, layers, tokens, start);
  state_->space.allocate(layers.empty() ? "cpu" : layers.front().weight.device());
  for (auto& [index, adapter] : state_->adapters) {
    adapter.change().initialize(seed.child("adapter"));
    if (adapter.bias() != nullptr) {
      adapter.bias()->initialize();
    }
  }
  if (state_->tokens) {
    state_->tokens->initialize();
  }
  state_->space.mark_written();
  if (config.decompose) {
    reset_magnitudes();
  } else {
    refresh();
  }
}

AdapterSet::~AdapterSet() = default;
AdapterSet::AdapterSet(AdapterSet&&) noexcept = default;
AdapterSet& AdapterSet::operator=(AdapterSet&&) noexcept = default;

const AdapterConfig& AdapterSet::config() const {
  return state_->config;
}
tensor::FlatSpace& AdapterSet::space() {
  return state_->space;
}
const tensor::FlatSpace& AdapterSet::space() const {
  return state_->space;
}
const std::vector<std::size_t>& AdapterSet::site_indices() const {
  return state_->site_indices;
}
std::span<const std::string> AdapterSet::site_names() const {
  return state_->names;
}

std::span<const SitePlan> AdapterSet::plans() const {
  return state_->plans;
}

const Adapter* AdapterSet::find(std::size_t site_index) const {
  const auto found = state_->adapters.find(site_index);
  return found == state_->adapters.end() ? nullptr : &found->second;
}

std::vector<StartValue> AdapterSet::start_values() const {
  std::vector<StartValue> values;
  for (const std::size_t index : state_->site_indices) {
    const std::vector<StartValue> own = find(index)->change().start_values();
    values.insert(values.end(), own.begin(), own.end());
  }
  return values;
}

std::vector<at::Tensor> AdapterSet::stacked_factors(std::size_t site_index) const {
  const Adapter* adapter = find(site_index);
  return adapter == nullptr ? std::vector<at::Tensor>() : adapter->change().stacked_factors();
}

namespace {

/// One copy to the host for all sites.
void settle_decompositions(std::map<std::size_t, Adapter>& adapters) {
  std::vector<Decomposition*> decompositions;
  std::vector<at::Tensor> smallest;
  for (auto& [index, adapter] : adapters) {
    if (adapter.decomposition() != nullptr && adapter.decomposition()->axis() == Axis::kOutput) {
      decompositions.push_back(adapter.decomposition());
      smallest.push_back(adapter.decomposition()->smallest_factor());
    }
  }
  if (decompositions.empty()) {
    return;
  }
  const at::Tensor on_host = at::stack(smallest).cpu();
  for (std::size_t i = 0; i < decompositions.size(); ++i) {
    decompositions[i]->settle(on_host.const_data_ptr<float>()[i]);
  }
}

void refresh_adapter(Adapter& adapter) {
  adapter.change().refresh();
  if (adapter.bias() != nullptr) {
    adapter.bias()->refresh();
  }
  if (adapter.decomposition() != nullptr) {
    adapter.decomposition()->refresh(adapter.change());
  }
}

/// On a CPU a layer goes to one thread, whose small operations and roots leave nothing for others, unless it is so
/// large a part of all that the other threads would wait for it.
void refresh_adapters(std::span<const FrozenLayer> layers, const std::vector<Adapter*>& adapters, bool on_cpu) {
  constexpr std::int64_t kPartsPerThread = 4;
  const std::int64_t parts = kPartsPerThread * at::get_num_threads();
  const auto elements = [](const FrozenLayer& layer) { return layer.site.out * layer.site.columns(); };
  std::int64_t all = 0;
  for (const FrozenLayer& layer : layers) {
    all += elements(layer);
  }
  std::vector<Adapter*> small;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (on_cpu && elements(layers[i]) <= all / parts) {
      small.push_back(adapters[i]);
    } else {
      refresh_adapter(*adapters[i]);
    }
  }
  tensor::for_items(std::ssize(small),
                    [&](std::int64_t index) { refresh_adapter(*small[static_cast<std::size_t>(index)]); });
}

}  // namespace

void AdapterSet::refresh() {
  if (state_->refreshed == state_->space.generation()) {
    return;
  }
  const tensor::NoRecording guard;
  state_->drawn.clear();  // its norms are those of the last generation
  state_->is_drawn = false;
  if (state_->tokens) {
    state_->tokens->refresh();
  }
  std::vector<Adapter*> adapters;
  for (const SitePlan& plan : state_->plans) {
    adapters.push_back(&state_->adapters.at(plan.site));
  }
  refresh_adapters(state_->layers, adapters, state_->space.values().is_cpu());
  settle_decompositions(state_->adapters);
  state_->refreshed = state_->space.generation();
}

void AdapterSet::reset_magnitudes() {
  state_->space.mark_written();
  refresh();
  for (auto& [index, adapter] : state_->adapters) {
    if (adapter.decomposition() != nullptr) {
      adapter.decomposition()->reset_magnitude();
    }
  }
  state_->space.mark_written();
  refresh();
}

const at::Tensor* AdapterSet::norm(std::size_t site_index) const {
  const Adapter* adapter = find(site_index);
  return adapter == nullptr || adapter->decomposition() == nullptr ? nullptr : &adapter->decomposition()->norm();
}

std::vector<RandomKey> dropout_keys(RandomKey seed, std::int64_t step, std::int64_t first_sample,
                                    std::int64_t samples) {
  const RandomKey update = seed.child("dropout").child(static_cast<std::uint64_t>(step));
  std::vector<RandomKey> keys;
  for (std::int64_t sample = first_sample; sample < first_sample + samples; ++sample) {
    keys.push_back(update.child(static_cast<std::uint64_t>(sample)));
  }
  return keys;
}

const AddedTokens* AdapterSet::added_tokens() const {
  return state_->tokens.get();
}

bool AdapterSet::packs() const {
  return added_tokens() == nullptr && std::ranges::all_of(state_->layers, [](const FrozenLayer& layer) {
           return layer.site.form == LayerForm::kLinear;
         });
}

const AddedTokens* Pack::added_tokens() const {
  const AddedTokens* found = nullptr;
  for (const Segment& segment : segments) {
    if (segment.adapters != nullptr && segment.adapters->added_tokens() != nullptr) {
      invariant(segments.size() == 1, "a pack of {} trials has added tokens", segments.size());
      found = segment.adapters->added_tokens();
    }
  }
  return found;
}

bool AdapterSet::has_dropout() const {
  return std::ranges::any_of(state_->plans,
                             [](const SitePlan& plan) { return plan.dropout > 0.0 || plan.drops_parts(); });
}

void AdapterSet::draw(State& set, std::optional<std::pair<RandomKey, std::int64_t>> seed_and_step) {
  const tensor::NoRecording guard;
  invariant(set.refreshed == set.space.generation(), "a draw of dropout comes after refresh");
  set.drawn.clear();
  for (std::size_t i = 0; i < set.plans.size(); ++i) {
    const SitePlan& plan = set.plans[i];
    const Adapter& adapter = set.adapters.at(plan.site);
    const RandomKey key =
        seed_and_step ? part_dropout_key(seed_and_step->first, seed_and_step->second, set.names[i]) : RandomKey{};
    if (seed_and_step && leaves_out(key, plan.module_dropout)) {
      set.drawn.try_emplace(plan.site, unchanged_weight(set.layers[i]), nullptr, adapter.parameters(),
                            Adapter::Dropout{}, adapter.bias());
    } else if (plan.rank_dropout > 0.0) {
      const at::Tensor factors =
          row_factors(key, set.layers[i].site.out, plan.rank_dropout, set.config.rank_dropout_scale);
      std::unique_ptr<Change> change = change_by_rows(adapter.change(), factors.to(set.space.values().device()));
      std::unique_ptr<Decomposition> decomposition;
      if (adapter.decomposition() != nullptr) {
        decomposition = std::make_unique<Decomposition>(*adapter.decomposition());
        decomposition->refresh(*change);
      }
      set.drawn.try_emplace(plan.site, std::move(change), std::move(decomposition), adapter.parameters(),
                            adapter.dropout(), adapter.bias());
    }
  }
  settle_decompositions(set.drawn);
  set.is_drawn = true;
}

void AdapterSet::draw_dropout(RandomKey seed, std::int64_t step) {
  draw(*state_, std::pair{seed, step});
}

void AdapterSet::rehearse_dropout() {
  draw(*state_, std::nullopt);
}

const Adapter* AdapterSet::find_drawn(std::size_t site_index) const {
  const auto found = state_->drawn.find(site_index);
  if (found != state_->drawn.end()) {
    return &found->second;
  }
  invariant(state_->is_drawn || std::ranges::none_of(state_->plans, &SitePlan::drops_parts),
            "no dropout was drawn since the parameters changed");
  return find(site_index);
}

std::int64_t Pack::samples() const {
  std::int64_t total = 0;
  for (const Segment& segment : segments) {
    total += segment.samples;
  }
  return total;
}

}  // namespace dormer::adapter
