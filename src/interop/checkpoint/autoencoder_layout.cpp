#include <array>
#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "checkpoint/layout.hpp"
#include "dormer/core/error.hpp"
#include "names/name_rules.hpp"

namespace dormer::interop {
namespace {

constexpr const char* kAutoencoder = "first_stage_model.";

/// What is inside of a resnet or an attention of the middle.
constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kParts{{{"norm1", "norm1"},
                                                                                {"norm2", "norm2"},
                                                                                {"conv1", "conv1"},
                                                                                {"conv2", "conv2"},
                                                                                {"nin_shortcut", "conv_shortcut"},
                                                                                {"norm", "group_norm"},
                                                                                {"q", "to_q"},
                                                                                {"k", "to_k"},
                                                                                {"v", "to_v"},
                                                                                {"proj_out", "to_out.0"},
                                                                                {"conv", "conv"}}};

std::optional<std::string> part_name(std::string_view theirs) {
  for (const auto& [name, ours] : kParts) {
    if (name == theirs) {
      return std::string(ours);
    }
  }
  return std::nullopt;
}

/// "encoder.down.0.block.1.conv1" as diffusers has it, where up counts from the other end.
std::optional<std::string> renamed_module(std::string_view module, std::int64_t levels) {
  const std::vector<std::string_view> parts = parts_of(module);
  if (parts.size() == 1) {
    return std::string(module);  // quant_conv, post_quant_conv
  }
  const std::string side(parts[0]);
  if (parts.size() == 2) {
    return side + "." + (parts[1] == "norm_out" ? "conv_norm_out" : std::string(parts[1]));
  }
  const std::optional<std::string> last = part_name(parts.back());
  if (!last) {
    return std::nullopt;
  }
  if (parts[1] == "mid" && parts.size() == 4) {
    const std::string_view which = parts[2];
    return fmt::format("{}.mid_block.{}.{}", side,
                       which == "attn_1"    ? "attentions.0"
                       : which == "block_1" ? "resnets.0"
                                            : "resnets.1",
                       *last);
  }
  const bool down = parts[1] == "down";
  std::int64_t level = -1;
  const auto [end, code] = std::from_chars(parts[2].data(), parts[2].data() + parts[2].size(), level);
  if (code != std::errc{} || level < 0 || level >= levels) {
    return std::nullopt;
  }
  level = down ? level : levels - 1 - level;
  const std::string block = fmt::format("{}.{}.{}", side, down ? "down_blocks" : "up_blocks", level);
  if (parts.size() == 6) {
    return fmt::format("{}.resnets.{}.{}", block, parts[4], *last);
  }
  return parts.size() == 5 ? std::optional(fmt::format("{}.{}.0.conv", block, down ? "downsamplers" : "upsamplers"))
                           : std::nullopt;
}

}  // namespace

PartLayout autoencoder_layout(const ArrayShapes& arrays, double scaling, double shift) {
  const auto name = [](const std::string& rest) { return kAutoencoder + rest; };
  require(arrays.has(name("encoder.conv_in.weight")) && arrays.has(name("decoder.conv_in.weight")), Fault::kInput,
          "it holds no autoencoder (first_stage_model); name a whole checkpoint, or a folder of diffusers");
  const std::int64_t levels = arrays.count(name("encoder.down."), ".block.0.conv1.weight");
  Settings channels = Settings::array();
  Settings down = Settings::array();
  Settings up = Settings::array();
  for (std::int64_t level = 0; level < levels; ++level) {
    channels.push_back(arrays.size(name(fmt::format("encoder.down.{}.block.0.conv1.weight", level)), 0));
    down.push_back("DownEncoderBlock2D");
    up.push_back("UpDecoderBlock2D");
  }
  PartLayout part{.folder = "vae",
                  .stem = "diffusion_pytorch_model",
                  .config = {{"_class_name", "AutoencoderKL"},
                             {"in_channels", 3},
                             {"out_channels", 3},
                             {"block_out_channels", channels},
                             {"down_block_types", down},
                             {"up_block_types", up},
                             {"layers_per_block", arrays.count(name("encoder.down.0.block."), ".conv1.weight")},
                             {"latent_channels", arrays.size(name("decoder.conv_in.weight"), 1)},
                             {"use_quant_conv", arrays.has(name("quant_conv.weight"))},
                             {"use_post_quant_conv", arrays.has(name("post_quant_conv.weight"))},
                             {"scaling_factor", scaling}},
                  .arrays = {},
                  .rearranged = {}};
  if (shift != 0.0) {
    part.config["shift_factor"] = shift;
  }
  for (const char* side : {"encoder.", "decoder.", "quant_conv.", "post_quant_conv."}) {
    arrays.under(name(side), [&](const std::string& rest, const std::vector<std::int64_t>& shape) {
      const std::string array = side + rest;
      const std::size_t dot = array.rfind('.');
      const std::optional<std::string> module = renamed_module(std::string_view(array).substr(0, dot), levels);
      require(module.has_value(), Fault::kInput, "its array {}{} is not known here; name the model's folder",
              kAutoencoder, array);
      std::vector<std::int64_t> ours = shape;
      if (module->find("attentions") != std::string::npos && ours.size() == 4) {
        ours.resize(2);  // a convolution of one tap there, a linear layer here
      }
      part.arrays.push_back({.name = *module + array.substr(dot), .file = {}, .array = name(array), .shape = ours});
    });
  }
  return part;
}

}  // namespace dormer::interop
