#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace dormer::data {

/// Of an image as it is seen, in pixels: after its EXIF orientation.
struct ImageSize {
  std::int64_t width = 0;
  std::int64_t height = 0;
  bool operator==(const ImageSize&) const = default;
};

/// A size that whole updates of images share.
struct Bucket {
  ImageSize size;
  std::int64_t resolution = 0;  ///< the side of the square whose area `size` does not exceed
  bool operator==(const Bucket&) const = default;
};

struct BucketRules {
  std::int64_t step = 64;   ///< sides are multiples of it
  double max_aspect = 4.0;  ///< longer side over the shorter one, at most; 1: squares alone
};

/// For each resolution the sizes w x h with w and h multiples of the step, each the longest that keep w*h <=
/// resolution² for the other side, and of an aspect within the limit. So no bucket takes more memory than the square,
/// and none misses its area by step times its longer side, but for the square where the step does not divide the
/// resolution. Resolutions rise, and within one the widths do, then the heights. A usage error for a resolution below
/// the step, a step or an aspect below 1. Pure.
[[nodiscard]] std::vector<Bucket> plan_buckets(std::span<const std::int64_t> resolutions, const BucketRules& rules);

/// Which bucket takes the image: of the largest resolution that the image fills without being enlarged, else of the
/// smallest, the one whose aspect is nearest by ratio (of two equally near ones the larger, then the first). Pure.
[[nodiscard]] std::size_t choose_bucket(ImageSize image, std::span<const Bucket> buckets);

}  // namespace dormer::data
