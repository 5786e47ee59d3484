#include "peft_names.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include <fmt/ranges.h>

#include "dormer/core/error.hpp"
#include "dormer/interop/peft.hpp"
#include "stored_values.hpp"

namespace dormer::interop {
namespace {

constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::array<std::pair<std::string_view, std::string_view>, 23> kSuffixes{{
    {".lora_A.weight", "lora_A"},
    {".lora_B.weight", "lora_B"},
    {".lora_embedding_A", "lora_embedding_A"},
    {".lora_embedding_B", "lora_embedding_B"},
    {".lora_magnitude_vector", kPeftMagnitude},  // as PEFT writes it
    {".lora_magnitude_vector.weight", kPeftMagnitude},
    {".token_adapter.trainable_tokens_delta", kPeftTokens},
    {".hada_w1_a", "hada_w1_a"},
    {".hada_w1_b", "hada_w1_b"},
    {".hada_w2_a", "hada_w2_a"},
    {".hada_w2_b", "hada_w2_b"},
    {".hada_t1", "hada_t1"},
    {".hada_t2", "hada_t2"},
    {".lokr_w1", "lokr_w1"},
    {".lokr_w1_a", "lokr_w1_a"},
    {".lokr_w1_b", "lokr_w1_b"},
    {".lokr_w2", "lokr_w2"},
    {".lokr_w2_a", "lokr_w2_a"},
    {".lokr_w2_b", "lokr_w2_b"},
    {".lokr_t2", "lokr_t2"},
    {".weight", "weight"},  // after those that it ends
    {".base_layer.bias", kPeftBias},
    {".bias", "bias"},
}};

std::string last_part(const std::string& name) {
  return name.substr(name.rfind('.') + 1);
}

bool is_middle(const std::string& factor) {
  return factor == "hada_t1" || factor == "hada_t2" || factor == "lokr_t2";
}

}  // namespace

std::string peft_key(const PeftKey& key) {
  const auto* const suffix = std::ranges::find(kSuffixes, key.factor, &decltype(kSuffixes)::value_type::second);
  invariant(suffix != kSuffixes.end(), "PEFT has no name for {}", key.factor);
  return std::string(kPrefix) + key.layer + std::string(suffix->first);
}

std::optional<PeftKey> parse_peft_key(std::string_view name) {
  if (!name.starts_with(kPrefix)) {
    return std::nullopt;
  }
  name.remove_prefix(kPrefix.size());
  for (const auto& [suffix, factor] : kSuffixes) {
    if (name.size() > suffix.size() && name.ends_with(suffix)) {
      return PeftKey{std::string(name.substr(0, name.size() - suffix.size())), std::string(factor)};
    }
  }
  return std::nullopt;
}

StoredArray peft_factor(const StoredLayer& layer, const std::string& factor) {
  if (factor == "lora_B") {
    return up_of(layer);
  }
  constexpr std::size_t kMiddleAxes = 4;  // PEFT computes Tucker forms with two kernel axes alone
  StoredArray values = layer.factors.at(factor);
  if (is_middle(factor) && values.shape.size() < kMiddleAxes) {
    values.shape.resize(kMiddleAxes, 1);
  }
  return values;
}

StoredArray peft_magnitude(const StoredLayer& layer) {
  StoredArray result{.shape = {static_cast<std::int64_t>(layer.magnitude.size())}, .values = layer.magnitude};
  if (kernel_axes(layer) > 0) {
    result.shape.insert(result.shape.begin(), 1);
    result.shape.resize(2 + kernel_axes(layer), 1);
  }
  return result;
}

void set_peft_magnitude(StoredLayer& layer, const std::string& layer_name, StoredArray values) {
  const std::size_t place = values.shape.size() > 1 ? 1 : 0;
  require(!values.shape.empty() && values.shape[place] == std::ssize(values.values), Fault::kInput,
          "lora_magnitude_vector of '{}' has the shape [{}] instead of [out] or [1, out, 1, 1]", layer_name,
          fmt::join(values.shape, ", "));
  require(!layer.axis, Fault::kInput, "'{}' has two arrays of magnitudes", layer_name);
  layer.axis = adapter::Axis::kOutput;
  layer.magnitude = std::move(values.values);
}

void put_peft_factor(StoredLayer& layer, const PeftKey& key, StoredArray values) {
  if (is_middle(key.factor) && values.shape.size() > 3 && values.shape.back() == 1 && values.shape[2] > 1) {
    values.shape.pop_back();
  }
  put_factor(layer, key.layer, key.factor, std::move(values));
}

std::vector<std::string> peft_target_modules(std::span<const std::string> chosen, std::span<const std::string> all) {
  std::set<std::string> parts;
  for (const std::string& name : chosen) {
    parts.insert(last_part(name));
  }
  const auto selected = static_cast<std::size_t>(
      std::ranges::count_if(all, [&](const std::string& name) { return parts.contains(last_part(name)); }));
  if (selected == chosen.size()) {
    return {parts.begin(), parts.end()};
  }
  const std::set<std::string> whole(chosen.begin(), chosen.end());
  return {whole.begin(), whole.end()};
}

}  // namespace dormer::interop
