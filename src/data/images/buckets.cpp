#include "dormer/data/buckets.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "dormer/core/error.hpp"

namespace dormer::data {
namespace {

double aspect_of(ImageSize size) {
  return static_cast<double>(size.width) / static_cast<double>(size.height);
}

/// How much an image has to grow to cover a bucket; at most 1: not at all.
double enlargement(ImageSize image, ImageSize bucket) {
  return std::max(static_cast<double>(bucket.width) / static_cast<double>(image.width),
                  static_cast<double>(bucket.height) / static_cast<double>(image.height));
}

void add_sizes(std::int64_t resolution, const BucketRules& rules, std::vector<Bucket>& buckets) {
  const std::int64_t area = resolution * resolution;
  std::set<std::pair<std::int64_t, std::int64_t>> sizes;  // by width, then height
  const double widest =
      std::min(static_cast<double>(resolution) * rules.max_aspect, static_cast<double>(area / rules.step));
  for (std::int64_t width = rules.step; static_cast<double>(width) <= widest; width += rules.step) {
    const std::int64_t height = area / width / rules.step * rules.step;
    if (static_cast<double>(std::max(width, height)) <=
        rules.max_aspect * static_cast<double>(std::min(width, height))) {
      sizes.emplace(width, height);
      sizes.emplace(height, width);
    }
  }
  const std::int64_t square = resolution / rules.step * rules.step;  // not among them where the step does not divide
  sizes.emplace(square, square);
  for (const auto& [width, height] : sizes) {
    buckets.push_back({{width, height}, resolution});
  }
}

std::size_t nearest_aspect(ImageSize image, std::span<const Bucket> buckets, std::int64_t resolution) {
  std::size_t best = buckets.size();
  double best_distance = 0.0;
  for (std::size_t i = 0; i < buckets.size(); ++i) {
    const ImageSize size = buckets[i].size;
    if (buckets[i].resolution != resolution) {
      continue;
    }
    // The ratio of the aspects instead of the logarithm's difference: the same order, and exact for equal aspects.
    const double ratio = aspect_of(image) / aspect_of(size);
    const double distance = std::max(ratio, 1.0 / ratio);
    const bool larger =
        best < buckets.size() && size.width * size.height > buckets[best].size.width * buckets[best].size.height;
    if (best == buckets.size() || distance < best_distance || (distance == best_distance && larger)) {
      best = i;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace

std::vector<Bucket> plan_buckets(std::span<const std::int64_t> resolutions, const BucketRules& rules) {
  require(!resolutions.empty(), Fault::kUsage, "data.resolution names no resolution; write one, such as 1024");
  require(rules.step >= 1 && rules.max_aspect >= 1.0, Fault::kUsage,
          "buckets of step {} and aspect {} are none; both are at least 1", rules.step, rules.max_aspect);
  std::vector<std::int64_t> rising(resolutions.begin(), resolutions.end());
  std::ranges::sort(rising);
  rising.erase(std::unique(rising.begin(), rising.end()), rising.end());
  std::vector<Bucket> buckets;
  for (const std::int64_t resolution : rising) {
    require(resolution >= rules.step && resolution <= (std::int64_t{1} << 20), Fault::kUsage,
            "data.resolution {} is not between the step of the buckets ({}) and {}", resolution, rules.step,
            std::int64_t{1} << 20);
    add_sizes(resolution, rules, buckets);
  }
  return buckets;
}

std::size_t choose_bucket(ImageSize image, std::span<const Bucket> buckets) {
  invariant(!buckets.empty() && image.width > 0 && image.height > 0, "no bucket for {}x{}", image.width, image.height);
  std::set<std::int64_t> resolutions;
  for (const Bucket& bucket : buckets) {
    resolutions.insert(bucket.resolution);
  }
  std::size_t chosen = nearest_aspect(image, buckets, *resolutions.begin());
  for (const std::int64_t resolution : resolutions) {
    const std::size_t candidate = nearest_aspect(image, buckets, resolution);
    if (enlargement(image, buckets[candidate].size) <= 1.0) {
      chosen = candidate;
    }
  }
  return chosen;
}

}  // namespace dormer::data
