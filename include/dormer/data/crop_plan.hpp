#pragma once

#include <array>
#include <cstdint>

#include "dormer/core/random_key.hpp"
#include "dormer/data/buckets.hpp"

namespace dormer::data {

/// How an image becomes one of its bucket's size: scaled, mirrored where `flip` is set, then cut out at (top, left).
struct CropPlan {
  ImageSize original;
  ImageSize scaled;  ///< covers `target`, one side exactly
  std::int64_t top = 0;
  std::int64_t left = 0;  ///< in the mirrored image where it is mirrored
  ImageSize target;
  bool flip = false;  ///< left and right change places

  /// What SDXL is told about the size (Podell et al. 2023, §2.2): original height and width, top and left of the crop
  /// in the scaled image, target height and width.
  [[nodiscard]] std::array<std::int64_t, 6> size_conditioning() const {
    return {original.height, original.width, top, left, target.height, target.width};
  }
  bool operator==(const CropPlan&) const = default;
};

struct CropRules {
  bool jitter = false;            ///< a random place; else the middle
  double flip_probability = 0.0;  ///< in [0, 1]
};

/// The smallest scaling that covers `target`, and a place in it that the key decides. Pure.
[[nodiscard]] CropPlan plan_crop(ImageSize image, ImageSize target, const CropRules& rules = {}, RandomKey key = {});

}  // namespace dormer::data
