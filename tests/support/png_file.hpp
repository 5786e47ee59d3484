#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace dormer::test {

/// An image as a PNG of its own: not compressed, no library. The defaults are a good one.
struct PngFile {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::uint32_t channels = 3;            ///< 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha
  std::uint32_t bits = 8;                ///< 8 or 16
  std::vector<std::uint16_t> samples{};  ///< [height, width, channels]; empty: a pattern in which every pixel differs
};

/// What `samples` left empty stands for.
[[nodiscard]] std::vector<std::uint16_t> pattern(const PngFile& image);
[[nodiscard]] std::vector<std::uint8_t> png_bytes(const PngFile& image);
void write_png(const std::filesystem::path& path, const PngFile& image);

}  // namespace dormer::test
