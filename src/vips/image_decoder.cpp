// Everything that knows libvips. It decodes; scaling is ours (src/data/images/resample.hpp), because libvips scales
// with other instructions on other processors and changed its results between versions.

#include <algorithm>
#include <array>
#include <cctype>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>

#include <vips/vips.h>

#include "dormer/core/error.hpp"
#include "dormer/data/color_profile.hpp"
#include "dormer/data/image.hpp"
#include "dormer/data/image_module.hpp"

namespace dormer::vips {
namespace {

using data::DecodedImage;
using data::ImageSize;

struct Unreference {
  void operator()(void* object) const { g_object_unref(object); }
};
using Image = std::unique_ptr<VipsImage, Unreference>;
using Source = std::unique_ptr<VipsSource, Unreference>;

/// libvips said no; its reason stands in its error buffer.
struct Refused {};

/// The readers that are allowed. The others of libvips read formats that nobody trains on, some of them by libraries
/// that are not made for files of strangers.
constexpr std::array kReaders{"VipsForeignLoadPng",   "VipsForeignLoadJpeg", "VipsForeignLoadWebp",
                              "VipsForeignLoadNsgif", "VipsForeignLoadTiff", "VipsForeignLoadHeif",
                              "VipsForeignLoadJxl"};

void say_nothing(const gchar*, GLogLevelFlags, const gchar*, gpointer) {}

void start() {
  if (VIPS_INIT("dormer") != 0) {
    fail(Fault::kUsage, "images cannot be read: libvips does not start ({}); install it again", vips_error_buffer());
  }
  // Warnings about files would stand between our lines; what matters comes as an error.
  constexpr int kLevels = G_LOG_LEVEL_WARNING | G_LOG_LEVEL_MESSAGE | G_LOG_LEVEL_INFO | G_LOG_LEVEL_DEBUG;
  g_log_set_handler("VIPS", static_cast<GLogLevelFlags>(kLevels), say_nothing, nullptr);
  vips_concurrency_set(1);  // who wants several images at once calls from several threads
  vips_cache_set_max(0);    // it would give the old image of a file that has changed
  vips_operation_block_set("VipsForeignLoad", TRUE);
  for (const char* reader : kReaders) {
    vips_operation_block_set(reader, FALSE);
  }
}

/// Starts libvips at the first call. Returns what guards its error buffer.
std::shared_mutex& started() {
  static std::shared_mutex reasons;
  static const bool once = (start(), true);
  static_cast<void>(once);
  return reasons;
}

/// libvips's lines, as one.
std::string last_reason() {
  std::string text = vips_error_buffer();
  std::ranges::replace(text, '\n', ' ');
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) {
    text.pop_back();
  }
  return text.empty() ? "no reason given" : text;
}

/// Returns `work()`, or explains why libvips refused. Its error buffer is one for all threads: a refused file is tried
/// again with everybody else waiting, so that the reason is this file's.
template <typename Work>
auto explained(const std::filesystem::path& path, const Work& work) {
  std::shared_mutex& reasons = started();
  try {
    const std::shared_lock others(reasons);
    return work();
  } catch (const Refused&) {
    const std::unique_lock alone(reasons);
    vips_error_clear();
    try {
      return work();
    } catch (const Refused&) {
      const std::string reason = last_reason();
      vips_error_clear();
      fail(Fault::kInput, "{} cannot be read as an image ({}); write it again as PNG or JPEG, or take it away",
           path.string(), reason);
    }
  }
}

/// Runs an operation of libvips that makes an image.
template <typename Operation>
Image made(const Operation& operation) {
  VipsImage* image = nullptr;
  if (operation(&image) != 0) {
    throw Refused{};
  }
  return Image(image);
}

/// The first image of the file, of which only the header was read.
Image open(const std::filesystem::path& path) {
  std::error_code code;
  require(std::filesystem::is_regular_file(path, code), Fault::kInput, "{} is not there, or no file; see data.concepts",
          path.string());
  const Source source(vips_source_new_from_file(path.c_str()));
  if (source == nullptr) {
    throw Refused{};
  }
  // Damage is an error, and so is an early end; a warning, which many a sound file causes, is not.
  Image image(vips_image_new_from_source(source.get(), "", "access", VIPS_ACCESS_SEQUENTIAL, "fail_on",
                                         VIPS_FAIL_ON_ERROR, nullptr));
  if (image == nullptr) {
    throw Refused{};
  }
  return image;
}

ImageSize size_of(VipsImage* image) {
  const ImageSize size{vips_image_get_width(image), vips_image_get_height(image)};
  return vips_image_get_orientation_swap(image) != 0 ? ImageSize{size.height, size.width} : size;
}

/// The embedded colour profile; empty: there is none that fits the image.
std::span<const std::byte> profile_of(VipsImage* image) {
  const void* bytes = nullptr;
  std::size_t size = 0;
  if (vips_image_get_typeof(image, VIPS_META_ICC_NAME) == 0 ||
      vips_image_get_blob(image, VIPS_META_ICC_NAME, &bytes, &size) != 0 ||
      vips_icc_is_compatible_profile(image, bytes, size) == 0) {
    return {};
  }
  return {static_cast<const std::byte*>(bytes), size};
}

/// Gray or sRGB, perhaps with alpha. A profile that does not fit the image's channels counts as none.
Image to_srgb(const std::filesystem::path& path, Image image) {
  const VipsInterpretation space = vips_image_guess_interpretation(image.get());
  const bool wide = vips_image_get_format(image.get()) == VIPS_FORMAT_USHORT;
  require(wide || vips_image_get_format(image.get()) == VIPS_FORMAT_UCHAR, Fault::kInput,
          "{} has samples of the type {}, which are not read; write it again with 8 or 16 bits", path.string(),
          vips_enum_nick(VIPS_TYPE_BAND_FORMAT, vips_image_get_format(image.get())));
  const bool cmyk = space == VIPS_INTERPRETATION_CMYK;
  require(cmyk || space == VIPS_INTERPRETATION_sRGB || space == VIPS_INTERPRETATION_RGB ||
              space == VIPS_INTERPRETATION_RGB16 || space == VIPS_INTERPRETATION_B_W ||
              space == VIPS_INTERPRETATION_GREY16,
          Fault::kInput, "{} has colours of the kind {}, which are not read; write it again as RGB", path.string(),
          vips_enum_nick(VIPS_TYPE_INTERPRETATION, space));
  const std::span<const std::byte> profile = profile_of(image.get());
  require(!cmyk || !profile.empty(), Fault::kInput,
          "{} is CMYK without a colour profile, so that nobody knows its colours; write it again as RGB",
          path.string());
  if (profile.empty() || data::is_srgb_profile(profile)) {
    return image;
  }
  // Every profile knows how to be perceived; of one that lacks another intent, libvips would take its own instead.
  return made([&](VipsImage** out) {
    return vips_icc_transform(image.get(), out, "srgb", "embedded", TRUE, "intent", VIPS_INTENT_PERCEPTUAL, "depth",
                              wide ? 16 : 8, nullptr);
  });
}

Image upright(Image image) {
  if (vips_image_get_orientation(image.get()) == 1) {
    return image;
  }
  const Image held(vips_image_copy_memory(image.get()));  // a file is read from the top, and turning begins elsewhere
  if (held == nullptr) {
    throw Refused{};
  }
  return made([&](VipsImage** out) { return vips_autorot(held.get(), out, nullptr); });
}

DecodedImage decode_once(const std::filesystem::path& path) {
  const Image image = upright(to_srgb(path, open(path)));
  DecodedImage decoded{.size = {vips_image_get_width(image.get()), vips_image_get_height(image.get())},
                       .channels = vips_image_get_bands(image.get()),
                       .bits = vips_image_get_format(image.get()) == VIPS_FORMAT_USHORT ? 16 : 8};
  require(decoded.channels >= 1 && decoded.channels <= 4, Fault::kInput,
          "{} has {} channels, which are not read; write it again as RGB", path.string(), decoded.channels);
  std::size_t bytes = 0;
  void* samples = vips_image_write_to_memory(image.get(), &bytes);
  if (samples == nullptr) {
    throw Refused{};
  }
  decoded.samples = {samples, [](const void* memory) { g_free(const_cast<void*>(memory)); }};
  const std::int64_t expected = decoded.size.width * decoded.size.height * decoded.channels * decoded.bits / 8;
  invariant(static_cast<std::int64_t>(bytes) == expected, "{} was decoded to {} bytes, not {}", path.string(), bytes,
            expected);
  return decoded;
}

ImageSize size(const std::filesystem::path& path) {
  return explained(path, [&] { return size_of(open(path).get()); });
}

DecodedImage decode(const std::filesystem::path& path) {
  return explained(path, [&] { return decode_once(path); });
}

std::vector<std::byte> encode_png(ImageSize size, std::span<const std::uint8_t> samples, const data::PngTexts& texts) {
  constexpr int kChannels = 3;
  invariant(std::ssize(samples) == size.width * size.height * kChannels, "{} samples for {} x {} pixels",
            samples.size(), size.width, size.height);
  return explained("a picture", [&] {
    const Image image(vips_image_new_from_memory(samples.data(), samples.size(), static_cast<int>(size.width),
                                                 static_cast<int>(size.height), kChannels, VIPS_FORMAT_UCHAR));
    if (image == nullptr) {
      throw Refused{};
    }
    const Image named(vips_image_copy_memory(image.get()));
    if (named == nullptr) {
      throw Refused{};
    }
    for (std::size_t index = 0; index < texts.size(); ++index) {
      const std::string name = fmt::format("png-comment-{}-{}", index, texts[index].first);
      vips_image_set_string(named.get(), name.c_str(), texts[index].second.c_str());
    }
    void* bytes = nullptr;
    std::size_t count = 0;
    if (vips_pngsave_buffer(named.get(), &bytes, &count, nullptr) != 0) {
      throw Refused{};
    }
    const auto* first = static_cast<const std::byte*>(bytes);
    std::vector<std::byte> result(first, first + count);
    g_free(bytes);
    return result;
  });
}

}  // namespace
}  // namespace dormer::vips

extern "C" const dormer::data::ImageModule* dormer_image_module() {
  static constexpr dormer::data::ImageModule module{.build_id = DORMER_IMAGE_BUILD_ID,
                                                    .size = dormer::vips::size,
                                                    .decode = dormer::vips::decode,
                                                    .encode_png = dormer::vips::encode_png};
  return &module;
}
