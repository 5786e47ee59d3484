#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "dormer/data/buckets.hpp"
#include "dormer/data/crop_plan.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::data {

// What is read: PNG, JPEG, WebP, GIF, TIFF, and AVIF, HEIC and JPEG XL where libvips reads them; by content, whatever
// the file's name. Refused with an input error that names the file: what is damaged or ends early, other formats, sides
// below kShortestSide, more than kMostPixels pixels, samples that are not of 8 or 16 bits, CMYK without a colour
// profile. docs/images.md has the rules of colour.

/// Pixels of the shorter side.
inline constexpr std::int64_t kShortestSide = 8;
/// A header may promise more pixels than any memory has.
inline constexpr std::int64_t kMostPixels = 200'000'000;

/// The size as it is seen, that is after EXIF's orientation. Reads the header alone.
[[nodiscard]] ImageSize image_size(const std::filesystem::path& path);

/// fp32 [3, target height, target width], sRGB, in [-1, 1]. Animations give their first image. What is transparent lies
/// over white. Scaling is antialiased bicubic in fp32 on the sRGB values, as other trainers' (resample.hpp). The bits
/// depend on the file, the plan and, for formats with loss, the decoder; not on threads or processors. An input error
/// where the image is not of the plan's original size. May be called from several threads.
[[nodiscard]] at::Tensor load_image(const std::filesystem::path& path, const CropPlan& plan);

/// Writes fp32 [3, height, width] in [-1, 1] as a PNG of 8 bits, rounded to nearest, whole or not at all, with these
/// texts in it. The same picture gives the same bytes, as long as libvips is the same.
void write_png(const std::filesystem::path& path, const at::Tensor& picture,
               const std::vector<std::pair<std::string, std::string>>& texts);

/// How a mask image becomes weights of the loss.
struct MaskUse {
  std::int64_t cell = 8;         ///< pixels of a weight's side: the scale of the latents
  double unmasked_weight = 0.0;  ///< least weight
};

/// fp32 [1, target height / cell, target width / cell]: the mean brightness of the mask (over black, 1 is white) over
/// what each cell shows of the original under the plan, at least `unmasked_weight`. Both sides of the target are whole
/// cells. An input error where the mask is not of the image's size.
[[nodiscard]] at::Tensor load_mask(const std::filesystem::path& path, const CropPlan& plan, const MaskUse& use);

}  // namespace dormer::data
