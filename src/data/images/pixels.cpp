#include "pixels.hpp"

#include <algorithm>
#include <cstdint>
#include <span>

#include "dormer/core/error.hpp"
#include "resample.hpp"

namespace dormer::data {
namespace {

/// Where the window of the plan lies along one axis, cut into `count` outputs.
Sampling sampling_of(std::int64_t source, std::int64_t scaled, std::int64_t begin, std::int64_t length,
                     std::int64_t count) {
  const double ratio = static_cast<double>(source) / static_cast<double>(scaled);
  return {.source = source,
          .count = count,
          .origin = static_cast<double>(begin) * ratio,
          .step = static_cast<double>(length / count) * ratio};
}

Sampling rows_of(const CropPlan& plan, std::int64_t count) {
  return sampling_of(plan.original.height, plan.scaled.height, plan.top, plan.target.height, count);
}

/// Of the image that is not mirrored.
Sampling columns_of(const CropPlan& plan, std::int64_t count) {
  const std::int64_t left = plan.flip ? plan.scaled.width - plan.left - plan.target.width : plan.left;
  return sampling_of(plan.original.width, plan.scaled.width, left, plan.target.width, count);
}

/// Reads pixels as `Channels` colours in 0 … 255 over `background` (0 or 255).
template <typename Sample, std::size_t Channels>
void read_row(const DecodedImage& image, std::int64_t y, std::int64_t first_column, float background,
              std::span<float> row) {
  constexpr float kTop = sizeof(Sample) == 1 ? 255.0F : 65535.0F;
  const auto channels = static_cast<std::size_t>(image.channels);
  const std::size_t colours = channels >= 3 ? 3 : 1;
  const bool transparent = channels == 2 || channels == 4;
  const Sample* pixel = static_cast<const Sample*>(image.samples.get()) +
                        static_cast<std::size_t>(y * image.size.width + first_column) * channels;
  for (std::size_t at = 0; at < row.size(); at += Channels, pixel += channels) {
    for (std::size_t channel = 0; channel < Channels; ++channel) {
      auto value = static_cast<float>(pixel[colours == 3 ? channel : 0]);
      if constexpr (sizeof(Sample) == 2) {
        value /= 257.0F;  // 65535 is 255
      }
      if (transparent) {
        const auto alpha = static_cast<float>(pixel[colours]);
        value = (value * alpha + background * (kTop - alpha)) / kTop;
      }
      row[at + channel] = value;
    }
  }
}

ReadRow reader(const DecodedImage& image, float background) {
  invariant(image.bits == 8 || image.bits == 16, "samples of {} bits", image.bits);
  invariant(image.channels >= 1 && image.channels <= 4, "an image of {} channels", image.channels);
  return [&image, background](std::int64_t y, std::int64_t first_column, std::span<float> row) {
    image.bits == 8 ? read_row<std::uint8_t, 3>(image, y, first_column, background, row)
                    : read_row<std::uint16_t, 3>(image, y, first_column, background, row);
  };
}

}  // namespace

std::vector<float> cut_image(const DecodedImage& image, const CropPlan& plan) {
  const std::int64_t width = plan.target.width;
  const std::int64_t height = plan.target.height;
  const std::vector<float> cut =
      resample(cubic_taps(rows_of(plan, height)), cubic_taps(columns_of(plan, width)), 3, reader(image, 255.0F));
  std::vector<float> result(cut.size());
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      const std::int64_t from = plan.flip ? width - 1 - x : x;
      for (std::int64_t channel = 0; channel < 3; ++channel) {
        const float value = cut[static_cast<std::size_t>((y * width + from) * 3 + channel)];
        // Bicubic overshoots at edges.
        result[static_cast<std::size_t>((channel * height + y) * width + x)] =
            std::clamp(value, 0.0F, 255.0F) / 127.5F - 1.0F;
      }
    }
  }
  return result;
}

std::vector<float> cut_mask(const DecodedImage& image, const CropPlan& plan, const MaskUse& use) {
  invariant(use.cell > 0 && plan.target.width % use.cell == 0 && plan.target.height % use.cell == 0,
            "a mask of {}x{} is not whole cells of {}", plan.target.width, plan.target.height, use.cell);
  const std::int64_t width = plan.target.width / use.cell;
  const std::int64_t height = plan.target.height / use.cell;
  const std::vector<float> cut =
      resample(area_taps(rows_of(plan, height)), area_taps(columns_of(plan, width)), 3, reader(image, 0.0F));
  std::vector<float> result(static_cast<std::size_t>(width * height));
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      const float* cell = cut.data() + (y * width + (plan.flip ? width - 1 - x : x)) * 3;
      const float brightness = (cell[0] + cell[1] + cell[2]) / 765.0F;
      result[static_cast<std::size_t>(y * width + x)] =
          std::clamp(brightness, static_cast<float>(use.unmasked_weight), 1.0F);
    }
  }
  return result;
}

}  // namespace dormer::data
