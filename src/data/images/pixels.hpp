#pragma once

#include <vector>

#include "dormer/data/crop_plan.hpp"
#include "dormer/data/image.hpp"
#include "dormer/data/image_module.hpp"

namespace dormer::data {

/// [3, target height, target width] in [-1, 1]: gray as three equal channels, what is transparent over white. Pure.
[[nodiscard]] std::vector<float> cut_image(const DecodedImage& image, const CropPlan& plan);

/// [target height / cell, target width / cell] in [unmasked_weight, 1]: the mean of the channels, over black. Pure.
[[nodiscard]] std::vector<float> cut_mask(const DecodedImage& image, const CropPlan& plan, const MaskUse& use);

}  // namespace dormer::data
