#pragma once

#include <cstdint>
#include <vector>

#include "model/config_fields.hpp"
#include "timestep.hpp"

namespace dormer::model {

/// One resolution of a UNet, the finest first.
struct UnetLevel {
  std::int64_t channels = 0;
  std::int64_t layers = 2;  ///< resnets on the way down; one more on the way up
  std::int64_t heads = 8;
  std::int64_t text_width = 0;
  bool attends_down = false;
  bool attends_up = false;
  std::int64_t transformer_blocks = 1;  ///< of each transformer
};

/// A UNet2DConditionModel as plain data: what its config.json says.
struct UnetDescription {
  std::int64_t in_channels = 4;
  std::int64_t out_channels = 4;
  std::vector<UnetLevel> levels;
  std::int64_t groups = 32;
  double epsilon = 1e-5;
  std::int64_t downsample_padding = 1;
  bool linear_projection = false;
  std::int64_t time_width = 0;  ///< of the embedded timestep
  TimestepWaves time_embedding;
  TimestepWaves size_embedding;  ///< of each number that tells of sizes (SDXL); width 0: it takes none
  std::int64_t added_width = 0;  ///< of the pooled text and all embedded sizes together

  [[nodiscard]] std::int64_t size_numbers() const { return size_embedding.width > 0 ? kSizes : 0; }
  [[nodiscard]] std::int64_t pooled_width() const {
    return size_embedding.width > 0 ? added_width - kSizes * size_embedding.width : 0;
  }
  static constexpr std::int64_t kSizes = 6;
};

/// Reads diffusers' config.json of a UNet2DConditionModel and notes everything that is not done here.
[[nodiscard]] UnetDescription describe_unet(ConfigFields& fields);

}  // namespace dormer::model
