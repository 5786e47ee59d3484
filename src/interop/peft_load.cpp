#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>

#include <ATen/core/Tensor.h>
#include <fmt/ranges.h>

#include "dormer/core/error.hpp"
#include "dormer/interop/peft.hpp"
#include "dormer/tensor/device_memory.hpp"
#include "dormer/tensor/differentiable.hpp"

namespace dormer::interop {
namespace {

void check_layers(const adapter::AdapterSet& adapters, const PeftAdapter& file, const std::string& where) {
  const std::set<std::string> wanted(adapters.site_names().begin(), adapters.site_names().end());
  std::set<std::string> there;
  for (const auto& entry : file.layers) {
    there.insert(entry.first);
  }
  for (const auto& entry : file.modules) {
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

void check_numbers(const adapter::AdapterSet& adapters, const PeftAdapter& file, const std::string& where) {
  const adapter::AdapterConfig& config = adapters.config();
  require(
      config.decompose || !file.decompose, Fault::kUsage,
      "adapter.init_from {} is a DoRA, and this run has no magnitudes; write adapter: {{decompose: {{axis: output}}}}",
      where);
  for (std::size_t i = 0; i < adapters.plans().size(); ++i) {
    const std::string& name = adapters.site_names()[i];
    const adapter::SitePlan& plan = adapters.plans()[i];
    const char* kind = file.modules.contains(name) ? "full" : "lora";
    require(
        plan.kind == kind, Fault::kUsage,
        "adapter.init_from {} has '{}' as kind: {}, this run as kind: {}; write adapter: {{overrides: [{{match: {}, "
        "kind: {}}}]}}",
        where, name, kind, plan.kind, name, kind);
    if (plan.whole) {
      continue;
    }
    const PeftLayer& layer = file.layers.at(name);
    const bool uniform = std::ranges::all_of(file.layers, [&](const auto& other) {
      return other.second.rank == layer.rank && other.second.scale == layer.scale;
    });
    const std::string remedy = uniform ? fmt::format("adapter: {{rank: {}, alpha: {}, rank_stabilized: false}}",
                                                     layer.rank, layer.scale * static_cast<double>(layer.rank))
                                       : fmt::format("adapter: {{overrides: [{{match: {}, rank: {}, alpha: {}}}]}}",
                                                     name, layer.rank, layer.scale * static_cast<double>(layer.rank));
    require(layer.rank == plan.rank, Fault::kUsage,
            "adapter.init_from {} has the rank {} on '{}', this run {}; write {}", where, layer.rank, name, plan.rank,
            remedy);
    const double tolerance = 1e-12 * std::abs(layer.scale);  // the two are quotients of unlike numbers
    require(std::abs(layer.scale - plan.scale) <= tolerance, Fault::kUsage,
            "adapter.init_from {} scales '{}' by {}, this run by {}; write {}", where, name, layer.scale, plan.scale,
            remedy);
  }
}

// Sets one parameter; `values` has its unpadded shape, row-major.
void set_values(tensor::FlatSpace& space, const std::string& name, const std::vector<float>& values,
                const std::string& where) {
  const tensor::ParameterEntry& entry = space.entries()[space.index_of(name)];
  require(entry.count() == static_cast<std::int64_t>(values.size()), Fault::kUsage,
          "adapter.init_from {} has {} values for {} [{}]: it belongs to a model of another size", where, values.size(),
          name, fmt::join(entry.shape, ", "));
  at::Tensor target = tensor::FlatSpace::unpadded_part(space.values(), entry);
  invariant(target.is_contiguous(), "{} is not contiguous without its padding", name);
  target.view({-1}).copy_(tensor::borrowed(std::span<const float>(values), "cpu"));
}

// B as the flat space stores it: [rank, out].
std::vector<float> transposed(const PeftLayer& layer) {
  std::vector<float> result(layer.factor_b.size());
  for (std::int64_t row = 0; row < layer.out; ++row) {
    for (std::int64_t column = 0; column < layer.rank; ++column) {
      result[static_cast<std::size_t>(column * layer.out + row)] =
          layer.factor_b[static_cast<std::size_t>(row * layer.rank + column)];
    }
  }
  return result;
}

// The rows of added tokens: the same tables and tokens on both sides.
void set_tokens(adapter::AdapterSet& adapters, const PeftAdapter& file, const std::string& where) {
  const adapter::AddedTokens* added = adapters.added_tokens();
  const std::vector<std::string> modules = added == nullptr ? std::vector<std::string>{} : added->modules();
  std::vector<std::string> there;
  for (const auto& [name, tokens] : file.tokens) {
    there.push_back(name);
  }
  require(there.size() == modules.size() && std::ranges::is_permutation(there, modules), Fault::kUsage,
          "adapter.init_from {} trains rows for tokens in [{}], this run in [{}]; see model.added_tokens", where,
          fmt::join(there, ", "), fmt::join(modules, ", "));
  for (const auto& [name, tokens] : file.tokens) {
    bool same = std::ssize(tokens.indices) == added->count();
    for (std::size_t i = 0; i < tokens.indices.size(); ++i) {
      same = same && tokens.indices[i] == added->first_token() + static_cast<std::int64_t>(i);
    }
    require(same, Fault::kUsage,
            "adapter.init_from {} trains other tokens of '{}' than the {} from {} on that the model has no rows for",
            where, name, added->count(), added->first_token());
    set_values(adapters.space(), name + adapter::AddedTokens::kSuffix, tokens.rows, where);
  }
}

}  // namespace

void load_peft_into(adapter::AdapterSet& adapters, const std::filesystem::path& folder) {
  const std::string where = folder.string();
  const PeftAdapter file = read_peft(folder);
  check_layers(adapters, file, where);
  check_numbers(adapters, file, where);
  const tensor::NoRecording guard;
  tensor::FlatSpace& space = adapters.space();
  for (const auto& [name, layer] : file.layers) {
    set_values(space, name + ".lora_A", layer.factor_a, where);
    set_values(space, name + ".lora_B", transposed(layer), where);
    if (file.decompose) {
      set_values(space, name + ".magnitude", layer.magnitude, where);
    }
  }
  for (const auto& [name, module] : file.modules) {
    set_values(space, name + ".weight", module.weight, where);
    const bool has_bias = space.contains(name + ".bias");
    require(has_bias == !module.bias.empty(), Fault::kUsage, "adapter.init_from {} has {} bias for '{}', the model {}",
            where, module.bias.empty() ? "no" : "a", name, has_bias ? "has one" : "none");
    if (has_bias) {
      set_values(space, name + ".bias", module.bias, where);
    }
  }
  set_tokens(adapters, file, where);
  space.mark_written();
  if (adapters.config().decompose && !file.decompose) {
    adapters.reset_magnitudes();
  } else {
    adapters.refresh();
  }
}

}  // namespace dormer::interop
