#include "dormer/interop/adapter_values.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <numeric>
#include <set>

#include <ATen/core/Tensor.h>
#include <fmt/ranges.h>

#include "dormer/core/error.hpp"
#include "dormer/interop/peft.hpp"
#include "dormer/tensor/device_memory.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "stored_values.hpp"

namespace dormer::interop {
namespace {

constexpr std::string_view kMagnitude = "magnitude";
constexpr std::string_view kBias = "bias";  // beside a change; a whole layer's is a factor

bool is_tucker(const tensor::FlatSpace& space, const std::string& site, const std::string& factor) {
  const char* middle = factor.starts_with("hada_")     ? ".hada_t1"
                       : factor.starts_with("lokr_w2") ? ".lokr_t2"
                                                       : ".lora_mid";
  return space.contains(site + middle);
}

/// Parameters lie with the rank first; files have the outer factors the other way round, but for the Tucker forms.
bool lies_transposed(const std::string& factor, bool tucker) {
  if (factor == "lora_B" || factor == "lora_embedding_B" || factor == "lokr_w1_a") {
    return true;
  }
  return !tucker && (factor == "hada_w1_a" || factor == "hada_w2_a" || factor == "lokr_w2_a");
}

/// Files flatten a kernel into these factors' columns.
bool lies_with_kernel(const std::string& factor, bool tucker) {
  return !tucker && (factor == "hada_w1_b" || factor == "hada_w2_b" || factor == "lokr_w2_b");
}

StoredArray array_from(const at::Tensor& tensor) {
  const at::Tensor values = tensor.contiguous().cpu();
  const float* first = values.const_data_ptr<float>();
  return {.shape = values.sizes().vec(), .values = {first, first + values.numel()}};
}

StoredArray values_of(const tensor::FlatSpace& space, const tensor::ParameterEntry& entry) {
  return array_from(tensor::FlatSpace::unpadded_part(space.values(), entry));
}

std::int64_t columns_of(const std::vector<std::int64_t>& shape) {
  return std::accumulate(shape.begin() + 1, shape.end(), std::int64_t{1}, std::multiplies<>());
}

/// From the flat space's arrangement to a file's.
StoredArray as_in_files(StoredArray values, const std::string& factor, bool tucker) {
  if (lies_transposed(factor, tucker)) {
    return transposed(values);
  }
  if (lies_with_kernel(factor, tucker)) {
    values.shape = {values.shape.front(), columns_of(values.shape)};
  }
  if (factor == "lora_A" && tucker) {
    values.shape.resize(2);
  }
  return values;
}

/// The parameters of one site, in the order of the flat space, by the name behind the site's.
std::vector<std::pair<std::string, const tensor::ParameterEntry*>> parameters_of(const tensor::FlatSpace& space,
                                                                                 const std::string& site) {
  std::vector<std::pair<std::string, const tensor::ParameterEntry*>> found;
  for (const tensor::ParameterEntry& entry : space.entries()) {
    if (entry.name.size() > site.size() + 1 && entry.name.starts_with(site) && entry.name[site.size()] == '.' &&
        entry.name.find('.', site.size() + 1) == std::string::npos) {
      found.emplace_back(entry.name.substr(site.size() + 1), &entry);
    }
  }
  return found;
}

StoredLayer layer_from(const adapter::AdapterSet& adapters, std::size_t index) {
  const tensor::FlatSpace& space = adapters.space();
  const std::string& site = adapters.site_names()[index];
  const adapter::SitePlan& plan = adapters.plans()[index];
  StoredLayer layer;
  for (const auto& [name, entry] : parameters_of(space, site)) {
    StoredArray values = values_of(space, *entry);
    if (name == kMagnitude) {
      layer.axis = plan.axis;
      layer.magnitude = std::move(values.values);
    } else if (plan.bias && name == kBias) {
      layer.bias = std::move(values.values);
    } else if (name != adapter::AddedTokens::kSuffix + 1) {
      layer.factors[name] = as_in_files(std::move(values), name, is_tucker(space, site, name));
    }
  }
  return layer;
}

}  // namespace

StoredAdapter stored_from(const adapter::AdapterSet& adapters, const BaseFacts& base) {
  const tensor::NoRecording guard;
  StoredAdapter stored{.family = base.family, .base = base.hub_id};
  for (std::size_t i = 0; i < adapters.plans().size(); ++i) {
    const std::string& name = adapters.site_names()[i];
    StoredLayer layer = layer_from(adapters, i);
    const std::size_t site_index = adapters.site_indices()[i];
    if (site_index < base.layers.size()) {
      layer.kernel_axes = base.layers[site_index].site.convolution.kernel.size();
    }
    const adapter::SitePlan& plan = adapters.plans()[i];
    double alpha = plan.alpha;
    if (const std::vector<at::Tensor> stacked = adapters.stacked_factors(site_index); !stacked.empty()) {
      layer.factors["lora_A"] = array_from(stacked[0]);
      layer.factors["lora_B"] = array_from(stacked[1]);
      alpha *= adapters.config().rank_stabilized ? std::sqrt(2.0) : 2.0;  // the rank is twice the plan's
    }
    finish_layer(layer, name);
    if (layer.rank > 0) {
      layer.alpha = alpha;
      layer.scale = plan.scale;
    }
    stored.layers.emplace(name, std::move(layer));
  }
  if (const adapter::AddedTokens* added = adapters.added_tokens(); added != nullptr) {
    const tensor::FlatSpace& space = adapters.space();
    for (const std::string& module : added->modules()) {
      StoredTokens& tokens = stored.tokens[module];
      tokens.indices.resize(static_cast<std::size_t>(added->count()));
      std::iota(tokens.indices.begin(), tokens.indices.end(), added->first_token());
      tokens.rows = values_of(space, space.entries()[space.index_of(module + adapter::AddedTokens::kSuffix)]).values;
    }
  }
  return stored;
}

namespace {

void check_biases(const adapter::AdapterSet& adapters, const StoredAdapter& stored, const std::string& where) {
  const auto told = [&](const std::string& name) {
    const auto found = stored.layers.find(name);
    return found != stored.layers.end() && !found->second.bias.empty();
  };
  std::size_t trained = 0;
  bool same = true;
  for (std::size_t i = 0; i < adapters.plans().size(); ++i) {
    same = same && adapters.plans()[i].bias == told(adapters.site_names()[i]);
    trained += adapters.plans()[i].bias ? 1U : 0U;
  }
  const auto there = static_cast<std::size_t>(
      std::ranges::count_if(stored.layers, [](const auto& entry) { return !entry.second.bias.empty(); }));
  require(same && trained == there, Fault::kUsage,
          "adapter.init_from {} has the biases of {} layers, this run trains those of {}; write adapter: {{bias: {}}}",
          where, there, trained, bias_key(stored));
}

void check_layers(const adapter::AdapterSet& adapters, const StoredAdapter& stored, const std::string& where) {
  const std::set<std::string> wanted(adapters.site_names().begin(), adapters.site_names().end());
  std::set<std::string> there;
  for (const auto& entry : stored.layers) {
    there.insert(entry.first);
  }
  std::vector<std::string> only_there;
  std::vector<std::string> only_wanted;
  std::ranges::set_difference(there, wanted, std::back_inserter(only_there));
  std::ranges::set_difference(wanted, there, std::back_inserter(only_wanted));
  const std::vector<std::string> lines(there.begin(), there.end());
  require(
      only_there.empty(), Fault::kUsage,
      "adapter.init_from {} adapts '{}' and {} further layers that this run does not train; write adapter: {{targets: "
      "[{}]}}",
      where, only_there.empty() ? "" : only_there.front(), only_there.empty() ? 0 : only_there.size() - 1,
      fmt::join(peft_target_modules(lines, lines), ", "));
  require(
      only_wanted.empty(), Fault::kUsage,
      "adapter.init_from {} does not adapt '{}' and {} further layers that this run trains; write adapter: {{targets: "
      "[{}]}}",
      where, only_wanted.empty() ? "" : only_wanted.front(), only_wanted.empty() ? 0 : only_wanted.size() - 1,
      fmt::join(peft_target_modules(lines, lines), ", "));
}

/// A layer's rank and alpha as the configuration says them.
std::string numbers_to_write(const StoredAdapter& stored, const std::string& name, const StoredLayer& layer) {
  const bool uniform = std::ranges::all_of(stored.layers, [&](const auto& other) {
    return other.second.rank == 0 || (other.second.rank == layer.rank && other.second.scale == layer.scale);
  });
  return uniform
             ? fmt::format("adapter: {{rank: {}, alpha: {}, rank_stabilized: false}}", layer.rank, plain_alpha(layer))
             : fmt::format("adapter: {{overrides: [{{match: {}, rank: {}, alpha: {}}}]}}", name, layer.rank,
                           plain_alpha(layer));
}

void check_numbers(const adapter::SitePlan& plan, const StoredAdapter& stored, const std::string& name,
                   const std::string& where) {
  const StoredLayer& layer = stored.layers.at(name);
  require(family_of_kind(plan.kind) == family_of_kind(layer.kind), Fault::kUsage,
          "adapter.init_from {} has '{}' as kind: {}, this run as kind: {}; write adapter: {{overrides: [{{match: {}, "
          "kind: {}}}]}}",
          where, name, layer.kind, plan.kind, name, layer.kind);
  require(!layer.axis || plan.decompose, Fault::kUsage,
          "adapter.init_from {} is a DoRA, and this run has no magnitudes; write adapter: {{decompose: {{axis: {}}}}}",
          where, layer.axis ? name_of(*layer.axis) : "output");
  require(!layer.axis || *layer.axis == plan.axis, Fault::kUsage,
          "adapter.init_from {} is decomposed on the {} axis, this run on the {} axis, and neither turns into the "
          "other; write adapter: {{decompose: {{axis: {}}}}}",
          where, layer.axis ? name_of(*layer.axis) : "", name_of(plan.axis), layer.axis ? name_of(*layer.axis) : "");
  if (plan.whole || layer.rank == 0) {
    return;
  }
  const std::string remedy = numbers_to_write(stored, name, layer);
  require(layer.rank == plan.rank, Fault::kUsage, "adapter.init_from {} has the rank {} on '{}', this run {}; write {}",
          where, layer.rank, name, plan.rank, remedy);
  const double tolerance = 1e-6 * std::abs(layer.scale);  // alphas of files are fp32, and quotients of unlike numbers
  require(std::abs(layer.scale - plan.scale) <= tolerance, Fault::kUsage,
          "adapter.init_from {} scales '{}' by {}, this run by {}; write {}", where, name, layer.scale, plan.scale,
          remedy);
}

/// Sets one parameter; `values` has its unpadded shape, row-major.
void set_values(tensor::FlatSpace& space, const tensor::ParameterEntry& entry, const std::vector<float>& values,
                const std::string& where) {
  require(entry.count() == static_cast<std::int64_t>(values.size()), Fault::kUsage,
          "adapter.init_from {} has {} values for {} [{}]: it belongs to a model of another size", where, values.size(),
          entry.name, fmt::join(entry.shape, ", "));
  at::Tensor target = tensor::FlatSpace::unpadded_part(space.values(), entry);
  invariant(target.is_contiguous(), "{} is not contiguous without its padding", entry.name);
  target.view({-1}).copy_(tensor::borrowed(std::span<const float>(values), "cpu"));
}

std::string join_shape(const std::vector<std::int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

void set_layer(adapter::AdapterSet& adapters, const std::string& site, const StoredLayer& layer, double plan_scale,
               const std::string& where) {
  tensor::FlatSpace& space = adapters.space();
  std::set<std::string> unused;
  for (const auto& entry : layer.factors) {
    unused.insert(entry.first);
  }
  for (const auto& [name, entry] : parameters_of(space, site)) {
    if (name == kMagnitude || name == adapter::AddedTokens::kSuffix + 1) {
      continue;
    }
    if (name == kBias && !layer.bias.empty()) {
      set_values(space, *entry, layer.bias, where);
      continue;
    }
    const auto found = layer.factors.find(name);
    require(
        found != layer.factors.end(), Fault::kUsage,
        "adapter.init_from {} has no {} for '{}', which this run trains; see adapter.tucker, factor, decompose_both "
        "and full_matrix",
        where, name, site);
    unused.erase(name);
    const bool tucker = is_tucker(space, site, name);
    StoredArray values = lies_transposed(name, tucker) ? transposed(found->second) : found->second;
    std::vector<std::int64_t> shape = entry->shape;
    if (lies_with_kernel(name, tucker)) {
      shape = {shape.front(), columns_of(shape)};
    } else if (name == "lora_A" && tucker) {
      shape.resize(2);
    }
    require(
        values.shape == shape, Fault::kUsage,
        "adapter.init_from {} has {} of '{}' in the shape {}, this run in {}: it belongs to a model of another size",
        where, name, site, join_shape(values.shape), join_shape(shape));
    if (layer.rank == 0 && name == "lokr_w1" && layer.scale != plan_scale) {  // nothing low-rank carries a scale here
      values = scaled(std::move(values), layer.scale);
    }
    set_values(space, *entry, values.values, where);
  }
  require(unused.empty(), Fault::kUsage, "adapter.init_from {} has {} of '{}', which this run does not train", where,
          fmt::join(unused, ", "), site);
}

/// Layers that the file holds without magnitudes start at their own function.
void set_magnitudes(adapter::AdapterSet& adapters, const StoredAdapter& stored, const std::string& where) {
  tensor::FlatSpace& space = adapters.space();
  space.mark_written();
  if (adapters.config().decompose) {
    adapters.reset_magnitudes();
  }
  for (const auto& [site, layer] : stored.layers) {
    if (layer.axis) {
      set_values(space, space.entries()[space.index_of(site + "." + std::string(kMagnitude))], layer.magnitude, where);
    }
  }
  space.mark_written();
  adapters.refresh();
}

/// The rows of added tokens: the same tables and tokens on both sides.
void set_tokens(adapter::AdapterSet& adapters, const StoredAdapter& stored, const std::string& where) {
  const adapter::AddedTokens* added = adapters.added_tokens();
  const std::vector<std::string> modules = added == nullptr ? std::vector<std::string>{} : added->modules();
  std::vector<std::string> there;
  for (const auto& [name, tokens] : stored.tokens) {
    there.push_back(name);
  }
  require(there.size() == modules.size() && std::ranges::is_permutation(there, modules), Fault::kUsage,
          "adapter.init_from {} trains rows for tokens in [{}], this run in [{}]; see model.added_tokens", where,
          fmt::join(there, ", "), fmt::join(modules, ", "));
  for (const auto& [name, tokens] : stored.tokens) {
    bool same = std::ssize(tokens.indices) == added->count();
    for (std::size_t i = 0; i < tokens.indices.size(); ++i) {
      same = same && tokens.indices[i] == added->first_token() + static_cast<std::int64_t>(i);
    }
    require(same, Fault::kUsage,
            "adapter.init_from {} trains other tokens of '{}' than the {} from {} on that the model has no rows for",
            where, name, added->count(), added->first_token());
    tensor::FlatSpace& space = adapters.space();
    set_values(space, space.entries()[space.index_of(name + adapter::AddedTokens::kSuffix)], tokens.rows, where);
  }
}

}  // namespace

void load_into(adapter::AdapterSet& adapters, const StoredAdapter& stored, const std::string& where) {
  check_biases(adapters, stored, where);
  check_layers(adapters, stored, where);
  for (std::size_t i = 0; i < adapters.plans().size(); ++i) {
    check_numbers(adapters.plans()[i], stored, adapters.site_names()[i], where);
  }
  const tensor::NoRecording guard;
  for (std::size_t i = 0; i < adapters.plans().size(); ++i) {
    const std::string& name = adapters.site_names()[i];
    set_layer(adapters, name, stored.layers.at(name), adapters.plans()[i].scale, where);
  }
  set_tokens(adapters, stored, where);
  set_magnitudes(adapters, stored, where);
}

}  // namespace dormer::interop
