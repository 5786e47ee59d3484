#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "dormer/data/buckets.hpp"

namespace dormer::data {

/// An image's samples as the decoder gives them: rows from the top, channels of a pixel together.
struct DecodedImage {
  ImageSize size;
  std::int64_t channels = 0;  ///< 1 gray, 2 gray and alpha, 3 sRGB, 4 sRGB and alpha
  std::int64_t bits = 8;      ///< of a sample: 8 or 16
  /// Owns size.height * size.width * channels samples, in memory that the decoder's library allocated.
  std::unique_ptr<const void, void (*)(const void*)> samples{nullptr, nullptr};
};

/// Words and texts of a PNG's text chunks ("parameters" is where WebUIs look).
using PngTexts = std::vector<std::pair<std::string, std::string>>;

/// What the image module offers. The module is a file of its own, so that the program starts without libvips and the
/// fifty libraries behind it. `size` and `decode` apply the orientation of EXIF, take the first image of an animation,
/// and may be called from several threads. They throw input errors that name the file, the reason and the remedy.
struct ImageModule {
  const char* build_id = nullptr;  ///< must equal `image_build_id()`
  /// From the header alone.
  ImageSize (*size)(const std::filesystem::path& path) = nullptr;
  DecodedImage (*decode)(const std::filesystem::path& path) = nullptr;
  /// The bytes of a PNG with these samples (sRGB, 8 bits, rows from the top, channels of a pixel together) and these
  /// words and texts in its text chunks.
  std::vector<std::byte> (*encode_png)(ImageSize size, std::span<const std::uint8_t> samples,
                                       const PngTexts& texts) = nullptr;
};

/// Name and type of the module's one exported function.
inline constexpr const char* kImageModuleSymbol = "dormer_image_module";
using ImageModuleFunction = const ImageModule* (*)();

/// The version and a hash of the headers that program and module share.
[[nodiscard]] const char* image_build_id();

/// Loads the module at the first call (`libdormer_vips.so` beside `libdormer.so`, or the file that DORMER_IMAGE_MODULE
/// names). Usage errors name the remedy where it is missing, cannot be loaded or is of another build.
[[nodiscard]] const ImageModule& image_module();

}  // namespace dormer::data
