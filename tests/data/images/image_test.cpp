#include "dormer/data/image.hpp"

#include <atomic>
#include <fstream>
#include <thread>

#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>

#include "dormer/core/error.hpp"
#include "support/png_file.hpp"
#include "support/temp_directory.hpp"

namespace dormer::data {
namespace {

using test::PngFile;
using test::write_png;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

CropPlan whole(ImageSize size) {
  return {.original = size, .scaled = size, .target = size};
}

class ImageTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path write(const std::string& name, const PngFile& image) const {
    write_png(folder_.path() / name, image);
    return folder_.path() / name;
  }
  [[nodiscard]] std::filesystem::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_.path() / name, std::ios::binary) << bytes;
    return folder_.path() / name;
  }
  [[nodiscard]] static std::string bytes_of(const PngFile& image) {
    const std::vector<std::uint8_t> bytes = test::png_bytes(image);
    return {bytes.begin(), bytes.end()};
  }

  static void expect_refusal(const std::filesystem::path& path, const std::string& text, ImageSize size) {
    try {
      static_cast<void>(load_image(path, whole(size)));
      FAIL() << path << " is an image";
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::kInput);
      EXPECT_THAT(error.what(), AllOf(HasSubstr(path.string()), HasSubstr(text), Not(HasSubstr("\n"))));
    }
  }

  [[nodiscard]] const std::filesystem::path& folder() const { return folder_.path(); }

 private:
  test::TempDirectory folder_;
};

TEST_F(ImageTest, EverySampleComesAsItWasWritten) {
  for (const std::uint32_t bits : {8U, 16U}) {
    for (const std::uint32_t channels : {1U, 3U}) {
      const PngFile png{.width = 13, .height = 9, .channels = channels, .bits = bits};
      const auto path = write("image.png", png);
      EXPECT_EQ(image_size(path), (ImageSize{13, 9}));
      const at::Tensor image = load_image(path, whole({13, 9}));
      ASSERT_EQ(image.sizes(), (at::IntArrayRef{3, 9, 13}));
      const auto* values = image.const_data_ptr<float>();
      const std::vector<std::uint16_t> samples = test::pattern(png);
      for (std::size_t pixel = 0; pixel < 13 * 9; ++pixel) {
        for (std::size_t channel = 0; channel < 3; ++channel) {
          const double sample = samples[pixel * channels + (channels == 3 ? channel : 0)];
          EXPECT_NEAR(values[channel * 13 * 9 + pixel], sample / (bits == 8 ? 127.5 : 32767.5) - 1.0, 2e-7);
        }
      }
    }
  }
}

TEST_F(ImageTest, TheNameSaysNothing) {
  EXPECT_EQ(image_size(write("photo[page=1].jpg", PngFile{.width = 9, .height = 8})), (ImageSize{9, 8}));
}

TEST_F(ImageTest, AChangedFileIsReadAnew) {
  const auto path = write("image.png", PngFile{.width = 16, .height = 16});
  const at::Tensor before = load_image(path, whole({16, 16}));
  static_cast<void>(
      write("image.png", PngFile{.width = 16, .height = 16, .samples = std::vector<std::uint16_t>(768, 7)}));
  EXPECT_FALSE(at::equal(before, load_image(path, whole({16, 16}))));
  static_cast<void>(write("image.png", PngFile{.width = 16, .height = 17}));
  expect_refusal(path, "is 16x17 pixels, not the 16x16", {16, 16});
}

// Each thread reads all images in another order, damaged ones among them, whose reasons must not be mixed up.
TEST_F(ImageTest, ThreadsGetTheSameBitsAndTheirOwnReasons) {
  constexpr int kImages = 6;
  std::vector<std::filesystem::path> paths;
  std::vector<at::Tensor> expected;
  const CropPlan plan = plan_crop({311, 207}, {128, 128}, {.jitter = true}, RandomKey{3});
  for (int i = 0; i < kImages; ++i) {
    PngFile png{.width = 311, .height = 207};
    png.samples = test::pattern(png);
    png.samples[static_cast<std::size_t>(i) * 1'000] = 77;
    paths.push_back(write(fmt::format("{}.png", i), png));
    expected.push_back(load_image(paths.back(), plan));
  }
  const auto cut = write("cut.png", bytes_of({.width = 311, .height = 207}).substr(0, 60'000));
  const auto text = write("text.png", std::string("no image"));
  const auto reason = [&](const std::filesystem::path& path) -> std::string {
    try {
      static_cast<void>(load_image(path, plan));
      return "none";
    } catch (const Error& error) {
      return error.what();
    }
  };
  const std::string of_cut = reason(cut);
  const std::string of_text = reason(text);
  EXPECT_NE(of_cut, of_text);
  std::atomic<int> wrong = 0;
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 4 * kImages; ++i) {
        const auto image = static_cast<std::size_t>((i + thread) % kImages);
        wrong += at::equal(load_image(paths[image], plan), expected[image]) ? 0 : 1;
        wrong += reason(thread % 2 == 0 ? cut : text) == (thread % 2 == 0 ? of_cut : of_text) ? 0 : 1;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

TEST_F(ImageTest, WhatIsNoImageIsNamed) {
  expect_refusal(folder() / "absent.png", "not there", {8, 8});
  expect_refusal(folder(), "not there, or no file", {8, 8});
  expect_refusal(write("empty.png", std::string()), "cannot be read as an image", {8, 8});
  expect_refusal(write("text.png", std::string("a caption in the wrong place")), "cannot be read as an image", {8, 8});
  const std::string whole_file = bytes_of({.width = 64, .height = 64});
  for (const std::size_t size : {std::size_t{20}, std::size_t{50}, std::size_t{500}, whole_file.size() / 2}) {
    expect_refusal(write("cut.png", whole_file.substr(0, size)), "cannot be read as an image", {64, 64});
  }
  std::string flipped = whole_file;
  flipped[3'000] = static_cast<char>(flipped[3'000] ^ 1);
  expect_refusal(write("flipped.png", flipped), "cannot be read as an image", {64, 64});
}

TEST_F(ImageTest, ReadersForOtherFormatsAreOff) {
  expect_refusal(
      write("drawing.png", std::string("<svg xmlns='http://www.w3.org/2000/svg' width='64' height='64'></svg>")),
      "cannot be read as an image", {64, 64});
  expect_refusal(write("plain.png", "P3 8 8 255 " + std::string(600, '0')), "cannot be read as an image", {8, 8});
  expect_refusal(write("page.png", std::string("%PDF-1.4\n%%EOF")), "cannot be read as an image", {64, 64});
}

TEST_F(ImageTest, TooSmallAndTooLargeAreNamed) {
  expect_refusal(write("dot.png", PngFile{.width = 1, .height = 1}), "1x1 pixels, too small", {1, 1});
  expect_refusal(write("line.png", PngFile{.width = 100, .height = 7}), "too small", {100, 7});
  // A header that promises what the file does not hold.
  PngFile bomb{.width = 50'000, .height = 50'000, .channels = 1, .samples = {1, 2, 3}};
  expect_refusal(write("bomb.png", bomb), "more than the limit of 200 million", {50'000, 50'000});
}

TEST_F(ImageTest, MasksHaveTheImagesSize) {
  const CropPlan plan = whole({64, 64});
  const auto mask = write(
      "mask.png", PngFile{.width = 64, .height = 64, .channels = 1, .samples = std::vector<std::uint16_t>(4'096, 255)});
  const at::Tensor weights = load_mask(mask, plan, {});
  EXPECT_EQ(weights.sizes(), (at::IntArrayRef{1, 8, 8}));
  EXPECT_EQ(weights.const_data_ptr<float>()[13], 1.0F);
  try {
    static_cast<void>(load_mask(write("other.png", PngFile{.width = 64, .height = 63, .channels = 1}), plan, {}));
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("is 64x63 pixels, not the 64x64"));
  }
}

}  // namespace
}  // namespace dormer::data
