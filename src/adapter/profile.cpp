#include "dormer/adapter/profile.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "dormer/adapter/config.hpp"

namespace dormer::adapter {
namespace {

constexpr double kFloatEpsilon = 0x1p-23;

constexpr std::array<Profile, 4> kProfiles{
    {{.name = "peft", .rounds_magnitude = true},
     {.name = "lycoris", .has_input_axis = true, .epsilon = kFloatEpsilon, .norm_gradient = true},
     {.name = "onetrainer",
      .axis = Axis::kInput,
      .has_input_axis = true,
      .epsilon = kFloatEpsilon,
      .whole_dropout = true},
     {.name = "nvlabs", .rounds_magnitude = true}}};

void check_decomposition(const AdapterConfig& config, const Profile& profile, std::vector<std::string>& messages) {
  if (!config.decompose) {
    return;
  }
  const DecomposeConfig& own = *config.decompose;
  if (own.axis == "input" && !profile.has_input_axis) {
    messages.push_back(
        fmt::format("adapter.decompose.axis: profile: {} has no input axis; write axis: output", profile.name));
  }
  if (own.epsilon != 0.0 && own.epsilon != profile.epsilon) {
    messages.push_back(fmt::format("adapter.decompose.epsilon: profile: {} adds {}; take epsilon away", profile.name,
                                   profile.epsilon));
  }
  if (own.norm_gradient && !profile.norm_gradient) {
    messages.push_back(fmt::format(
        "adapter.decompose.norm_gradient: profile: {} counts norms as constants; write norm_gradient: false",
        profile.name));
  }
  if (profile.name == "peft" && (config.kind == "loha" || config.kind == "lokr")) {
    messages.push_back(
        fmt::format("adapter.decompose: profile: peft does not decompose kind: {}; take decompose away", config.kind));
  }
}

/// Whether a layer has this dropout.
bool asks(const AdapterConfig& config, double AdapterConfig::*rate,
          std::optional<double> OverrideConfig::*of_override) {
  return config.*rate > 0.0 || std::ranges::any_of(config.overrides, [&](const OverrideConfig& wish) {
           return (wish.*of_override).value_or(0.0) > 0.0;
         });
}

/// PEFT drops parts of what it has from LyCORIS.
bool peft_drops_parts(const AdapterConfig& config) {
  const auto is_product = [](const std::string& kind) { return kind == "loha" || kind == "lokr" || kind == "full"; };
  return is_product(config.kind) && std::ranges::all_of(config.overrides, [&](const OverrideConfig& wish) {
           return is_product(wish.kind.value_or(config.kind));
         });
}

void check_part_dropout(const AdapterConfig& config, const Profile& profile, std::vector<std::string>& messages) {
  if (profile.name == "lycoris") {
    return;
  }
  const bool has_parts = profile.name == "peft" && peft_drops_parts(config);
  const auto refuse = [&](const char* key) {
    messages.push_back(fmt::format("adapter.{}: profile: {} has none{}; write {}: 0, or take profile away", key,
                                   profile.name, profile.name == "peft" ? " but for loha and lokr" : "", key));
  };
  if (!has_parts && asks(config, &AdapterConfig::rank_dropout, &OverrideConfig::rank_dropout)) {
    refuse("rank_dropout");
  }
  if (!has_parts && asks(config, &AdapterConfig::module_dropout, &OverrideConfig::module_dropout)) {
    refuse("module_dropout");
  }
  if (has_parts && !config.rank_dropout_scale && config.kind == "loha" &&
      asks(config, &AdapterConfig::rank_dropout, &OverrideConfig::rank_dropout)) {
    messages.emplace_back(
        "adapter.rank_dropout_scale: profile: peft always scales for kind: loha; write rank_dropout_scale: true");
  }
}

void check_dropout(const AdapterConfig& config, const Profile& profile, std::vector<std::string>& messages) {
  const std::string_view placement = profile.whole_dropout ? "whole" : "input";
  if (config.dropout_placement && *config.dropout_placement != placement) {
    messages.push_back(fmt::format("adapter.dropout_placement: profile: {} has {}; write dropout_placement: {}",
                                   profile.name, placement, placement));
  }
  if (!asks(config, &AdapterConfig::dropout, &OverrideConfig::dropout)) {
    return;
  }
  if (profile.name == "lycoris") {
    messages.emplace_back("adapter.dropout: profile: lycoris drops nothing of a layer's input; write dropout: 0");
  } else if (profile.name == "onetrainer" && !config.decompose) {
    messages.emplace_back(
        "adapter.dropout: profile: onetrainer drops between the factors of a plain LoRA, which is not available; write "
        "dropout: 0, or decompose");
  } else if (profile.name == "peft" && takes_from_weight(start_named(config.start))) {
    messages.push_back(fmt::format(
        "adapter.dropout: profile: peft with start: {} drops a part of the weight, which is not available; write "
        "dropout: 0, or take profile away",
        config.start));
  }
}

}  // namespace

std::vector<std::string> profile_names() {
  std::vector<std::string> names;
  for (const Profile& profile : kProfiles) {
    names.emplace_back(profile.name);
  }
  return names;
}

std::optional<Profile> profile_of(const AdapterConfig& config) {
  const auto found = std::ranges::find_if(
      kProfiles, [&](const Profile& profile) { return config.profile && profile.name == *config.profile; });
  return found == kProfiles.end() ? std::nullopt : std::optional(*found);
}

std::vector<std::string> profile_contradictions(const AdapterConfig& config) {
  std::vector<std::string> messages;
  if (const std::optional<Profile> profile = profile_of(config)) {
    check_decomposition(config, *profile, messages);
    check_dropout(config, *profile, messages);
    check_part_dropout(config, *profile, messages);
  }
  return messages;
}

}  // namespace dormer::adapter
