#include "peft_names.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "dormer/core/error.hpp"
#include "dormer/interop/peft.hpp"

namespace dormer::interop {
namespace {

constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::array<std::pair<std::string_view, PeftTensor>, 7> kSuffixes{{
    {".lora_A.weight", PeftTensor::kFactorA},
    {".lora_B.weight", PeftTensor::kFactorB},
    {".lora_magnitude_vector", PeftTensor::kMagnitude},  // as PEFT writes it
    {".lora_magnitude_vector.weight", PeftTensor::kMagnitude},
    {".token_adapter.trainable_tokens_delta", PeftTensor::kTokens},
    {".weight", PeftTensor::kWeight},  // after those that it ends
    {".bias", PeftTensor::kBias},
}};

std::string last_part(const std::string& name) {
  return name.substr(name.rfind('.') + 1);
}

}  // namespace

std::string peft_key(const PeftKey& key) {
  const auto* const suffix = std::ranges::find(kSuffixes, key.tensor, &decltype(kSuffixes)::value_type::second);
  return std::string(kPrefix) + key.layer + std::string(suffix->first);
}

std::optional<PeftKey> parse_peft_key(std::string_view name) {
  if (!name.starts_with(kPrefix)) {
    return std::nullopt;
  }
  name.remove_prefix(kPrefix.size());
  for (const auto& [suffix, tensor] : kSuffixes) {
    if (name.size() > suffix.size() && name.ends_with(suffix)) {
      return PeftKey{std::string(name.substr(0, name.size() - suffix.size())), tensor};
    }
  }
  return std::nullopt;
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
