#include "dormer/data/crop_plan.hpp"

#include <algorithm>

#include "dormer/core/error.hpp"

namespace dormer::data {
namespace {

/// `length` times `numerator` over `denominator`, to the nearest (halves up), at least `least`.
std::int64_t scaled_length(std::int64_t length, std::int64_t numerator, std::int64_t denominator, std::int64_t least) {
  return std::max((2 * length * numerator + denominator) / (2 * denominator), least);
}

/// Uniform in 0 … `last`: a word of 32 bits times the count, whose bias below 2^-32 * count nobody sees.
std::int64_t draw(std::uint32_t word, std::int64_t last) {
  return static_cast<std::int64_t>((static_cast<std::uint64_t>(word) * (static_cast<std::uint64_t>(last) + 1)) >> 32);
}

}  // namespace

CropPlan plan_crop(ImageSize image, ImageSize target, const CropRules& rules, RandomKey key) {
  invariant(image.width > 0 && image.height > 0 && target.width > 0 && target.height > 0, "no crop of {}x{} to {}x{}",
            image.width, image.height, target.width, target.height);
  CropPlan plan{.original = image, .scaled = target, .target = target};
  // The side that has to be scaled more decides; integers, so that nothing hangs on rounding.
  if (target.width * image.height >= target.height * image.width) {
    plan.scaled.height = scaled_length(image.height, target.width, image.width, target.height);
  } else {
    plan.scaled.width = scaled_length(image.width, target.height, image.height, target.width);
  }
  const std::int64_t free_rows = plan.scaled.height - target.height;
  const std::int64_t free_columns = plan.scaled.width - target.width;
  const std::array<std::uint32_t, 4> words = philox(key.child("crop"), 0);
  plan.top = rules.jitter ? draw(words[0], free_rows) : free_rows / 2;
  plan.left = rules.jitter ? draw(words[1], free_columns) : free_columns / 2;
  plan.flip = static_cast<double>(to_uniform(words[2])) < rules.flip_probability;
  return plan;
}

}  // namespace dormer::data
