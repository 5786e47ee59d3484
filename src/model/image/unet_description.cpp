#include "unet_description.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace dormer::model {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kMostLayers = 64;  // of one level: what follows takes memory for every one

/// Settings that change the arithmetic, and the only value that is done here (as JSON; null: absent or null).
void refuse_variants(ConfigFields& fields) {
  const std::vector<std::pair<const char*, Json>> only{{"center_input_sample", false},
                                                       {"only_cross_attention", false},
                                                       {"dual_cross_attention", false},
                                                       {"mid_block_type", "UNetMidBlock2DCrossAttn"},
                                                       {"mid_block_scale_factor", 1},
                                                       {"act_fn", "silu"},
                                                       {"resnet_time_scale_shift", "default"},
                                                       {"resnet_skip_time_act", false},
                                                       {"resnet_out_scale_factor", 1.0},
                                                       {"time_embedding_type", "positional"},
                                                       {"conv_in_kernel", 3},
                                                       {"conv_out_kernel", 3},
                                                       {"attention_type", "default"},
                                                       {"class_embeddings_concat", false},
                                                       {"mid_block_only_cross_attention", false}};
  for (const auto& [name, value] : only) {
    fields.refuse(fields.has(name) && fields.object().at(name) != value,
                  fmt::format("{} other than {} is not supported", name, value.dump()));
  }
  fields.refuse(fields.object().contains("mid_block_type") && fields.object().at("mid_block_type").is_null(),
                "mid_block_type null is not supported");
  for (const char* name : {"num_attention_heads", "encoder_hid_dim", "encoder_hid_dim_type", "class_embed_type",
                           "num_class_embeds", "time_embedding_act_fn", "timestep_post_act", "time_cond_proj_dim",
                           "cross_attention_norm", "reverse_transformer_layers_per_block"}) {
    fields.refuse(fields.has(name), fmt::format("{} is not supported", name));
  }
  fields.refuse(fields.has("dropout") && fields.object().at("dropout") != 0.0,
                "dropout other than 0 is not supported: the base is frozen");
}

/// One value of a list with one for every level, or the value for all.
Json at_level(ConfigFields& fields, const char* name, std::size_t level, std::size_t levels, const Json& fallback) {
  if (!fields.has(name)) {
    return fallback;
  }
  const Json& value = fields.object().at(name);
  if (!value.is_array()) {
    return value;
  }
  if (value.size() != levels) {
    if (level == 0) {
      fields.refuse(true, fmt::format("{} has {} entries for {} levels", name, value.size(), levels));
    }
    return fallback;
  }
  return value.at(level);
}

std::int64_t count_at(ConfigFields& fields, const char* name, std::size_t level, std::size_t levels,
                      std::int64_t fallback) {
  constexpr std::int64_t kMost = 1 << 16;
  const Json value = at_level(fields, name, level, levels, fallback);
  const bool good = value.is_number_integer() && value >= 1 && value <= kMost;
  fields.refuse(!good, fmt::format("{} must be positive integers, not {}", name, value.dump()));
  return good ? value.get<std::int64_t>() : 1;
}

/// Which of the two types the block of a level has: with attention or without.
bool attends(ConfigFields& fields, const char* name, std::size_t index, const char* with, const char* without) {
  const Json& types = fields.object().at(name);
  if (index >= types.size()) {
    return false;
  }
  const Json& type = types.at(index);
  fields.refuse(type != with && type != without,
                fmt::format("{}: {} is not supported; known: {}, {}", name, type.dump(), with, without));
  return type == with;
}

UnetLevel describe_level(ConfigFields& fields, std::size_t index, std::size_t levels) {
  UnetLevel level;
  level.channels = count_at(fields, "block_out_channels", index, levels, 1);
  level.layers = std::min(count_at(fields, "layers_per_block", index, levels, 2), kMostLayers);
  level.heads = count_at(fields, "attention_head_dim", index, levels, 8);  // which diffusers reads as their number
  level.text_width = count_at(fields, "cross_attention_dim", index, levels, 1280);
  level.attends_down = attends(fields, "down_block_types", index, "CrossAttnDownBlock2D", "DownBlock2D");
  level.attends_up = attends(fields, "up_block_types", levels - 1 - index, "CrossAttnUpBlock2D", "UpBlock2D");
  level.transformer_blocks = std::min(count_at(fields, "transformer_layers_per_block", index, levels, 1), kMostLayers);
  fields.refuse(
      (level.attends_down || level.attends_up) && level.channels % level.heads != 0,
      fmt::format("attention_head_dim: {} channels do not divide into {} heads", level.channels, level.heads));
  return level;
}

double frequency_shift(ConfigFields& fields, std::int64_t width) {
  if (!fields.has("freq_shift")) {
    return 0.0;
  }
  const Json& value = fields.object().at("freq_shift");
  const bool good = value.is_number() && value >= 0 && value < width / 2;
  fields.refuse(!good, fmt::format("freq_shift must be a number from 0 to below {}, not {}", width / 2, value.dump()));
  return good ? value.get<double>() : 0.0;
}

void describe_added(ConfigFields& fields, UnetDescription& unet) {
  if (!fields.has("addition_embed_type")) {
    return;
  }
  const Json& type = fields.object().at("addition_embed_type");
  fields.refuse(type != "text_time",
                fmt::format("addition_embed_type {} is not supported; known: text_time", type.dump()));
  unet.size_embedding = unet.time_embedding;
  unet.size_embedding.width = fields.size("addition_time_embed_dim");
  unet.added_width = fields.size("projection_class_embeddings_input_dim");
  fields.refuse(unet.added_width <= UnetDescription::kSizes * unet.size_embedding.width,
                "projection_class_embeddings_input_dim leaves no room for the pooled text");
}

}  // namespace

UnetDescription describe_unet(ConfigFields& fields) {
  UnetDescription unet;
  refuse_variants(fields);
  for (const char* name : {"block_out_channels", "down_block_types", "up_block_types"}) {
    fields.refuse(!fields.has(name) || !fields.object().at(name).is_array() || fields.object().at(name).empty(),
                  fmt::format("{} must be a list with one entry for every level", name));
  }
  if (!fields.problems().empty()) {
    return unet;
  }
  const std::size_t levels = fields.object().at("block_out_channels").size();
  for (const char* name : {"down_block_types", "up_block_types"}) {
    fields.refuse(fields.object().at(name).size() != levels,
                  fmt::format("{} has {} entries for {} levels", name, fields.object().at(name).size(), levels));
  }
  unet.in_channels = fields.size("in_channels", 4);
  unet.out_channels = fields.size("out_channels", 4);
  unet.groups = fields.size("norm_num_groups", 32);
  unet.epsilon = fields.number("norm_eps", 1e-5);
  unet.downsample_padding = fields.size("downsample_padding", 1);
  unet.linear_projection = fields.flag("use_linear_projection", false);
  for (std::size_t index = 0; index < levels && fields.problems().empty(); ++index) {
    unet.levels.push_back(describe_level(fields, index, levels));
    fields.refuse(unet.levels.back().channels % unet.groups != 0,
                  fmt::format("block_out_channels: {} channels do not divide into norm_num_groups {}",
                              unet.levels.back().channels, unet.groups));
  }
  if (!fields.problems().empty()) {
    return unet;
  }
  const std::int64_t first = unet.levels.front().channels;
  unet.time_embedding = {.width = first,
                         .cosine_first = fields.flag("flip_sin_to_cos", true),
                         .frequency_shift = frequency_shift(fields, first)};
  unet.time_width = fields.size("time_embedding_dim", 4 * first);
  describe_added(fields, unet);
  return unet;
}

}  // namespace dormer::model
