#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/interop/stored_adapter.hpp"

namespace dormer::interop {

/// What lies between a layer in Hugging Face's naming and in the model's own, besides the name.
enum class Difference : std::uint8_t {
  kNone,
  kThirds,              ///< several layers of one height, one above the other, are one native layer
  kThirdsAndRest,       ///< three square ones (as high as the input is wide), and all further rows
  kHalvesSwapped,       ///< the first half of the rows comes last
  kHalvesSwappedIfTwo,  ///< so where the layer has two rows for every column, and not where it has six
};

/// One layer's names, or those of all layers that differ by numbers: "{}" stands for a number, "*" as the last part
/// for one or more parts of any name. Both sides have the same of them, in the same order.
struct NameRule {
  std::vector<std::string> hugging_face;  ///< several where they are one native layer, from the top down
  std::string native;
  Difference difference = Difference::kNone;
};

[[nodiscard]] std::vector<NameRule> stable_diffusion_1_rules();   ///< diffusers' UNet and SGM's, with SD 2.x
[[nodiscard]] std::vector<NameRule> stable_diffusion_xl_rules();  ///< diffusers' UNet and SGM's
[[nodiscard]] std::vector<NameRule> stable_diffusion_3_rules();   ///< diffusers' transformer and MMDiT, with 3.5
[[nodiscard]] std::vector<NameRule> flux_rules();                 ///< diffusers' transformer and Black Forest Labs'
/// How a UNet is built, as far as its names tell.
struct UnetNames {
  int blocks = 0;           ///< on the way down, and as many up
  int layers = 2;           ///< of a block on the way down; the way up has one more
  int attention_first = 0;  ///< of the blocks on the way down that attend; up the same, turned round
  int attention_last = 0;
  const char* transformer_block = nullptr;  ///< their numbers, as a pattern
};
[[nodiscard]] std::vector<NameRule> unet_rules(const UnetNames& unet);
/// Of the denoiser; none for models that have one naming.
[[nodiscard]] std::vector<NameRule> rules_of(ModelFamily family);

/// Path parts that stand in no rule: text encoders, language models, insides of blocks that both namings share.
[[nodiscard]] std::vector<std::string> further_parts();

/// A name as a rule has it.
struct RuleMatch {
  const NameRule* rule = nullptr;
  bool hugging_face = false;            ///< which side matched
  bool native = false;                  ///< both, where a name is the same
  std::optional<std::size_t> part{};    ///< which of several Hugging Face layers; absent: the whole native one
  std::vector<std::string> captures{};  ///< what the wildcards stand for
};
/// The first rule that has `module`. Pure, as all here.
[[nodiscard]] std::optional<RuleMatch> find_rule(const std::vector<NameRule>& rules, std::string_view module);
/// `pattern` with its wildcards filled.
[[nodiscard]] std::string filled(std::string_view pattern, const std::vector<std::string>& captures);

/// "a.b.c" as its parts.
[[nodiscard]] std::vector<std::string_view> parts_of(std::string_view path);

}  // namespace dormer::interop
