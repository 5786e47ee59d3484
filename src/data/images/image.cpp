#include "dormer/data/image.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "pixels.hpp"

namespace dormer::data {
namespace {

void check_size(const std::filesystem::path& path, ImageSize size) {
  require(std::min(size.width, size.height) >= kShortestSide, Fault::kInput,
          "{} is {}x{} pixels, too small to learn from (a side takes {}); take it away", path.string(), size.width,
          size.height, kShortestSide);
  require(size.width <= kMostPixels / size.height, Fault::kInput,
          "{} is {}x{} pixels by its header, more than the limit of {} million; make it smaller or take it away",
          path.string(), size.width, size.height, kMostPixels / 1'000'000);
}

/// Decodes what the plan was made for.
DecodedImage decode(const std::filesystem::path& path, ImageSize expected) {
  const ImageModule& module = image_module();
  check_size(path, module.size(path));
  DecodedImage image = module.decode(path);
  require(image.size == expected, Fault::kInput,
          "{} is {}x{} pixels, not the {}x{} that it shall have; has it changed? Start again, or make it that size",
          path.string(), image.size.width, image.size.height, expected.width, expected.height);
  return image;
}

at::Tensor to_tensor(const std::vector<float>& values, std::vector<std::int64_t> shape) {
  at::Tensor tensor = at::empty(shape, at::kFloat);
  std::ranges::copy(values, tensor.mutable_data_ptr<float>());
  return tensor;
}

}  // namespace

ImageSize image_size(const std::filesystem::path& path) {
  const ImageSize size = image_module().size(path);
  check_size(path, size);
  return size;
}

at::Tensor load_image(const std::filesystem::path& path, const CropPlan& plan) {
  return to_tensor(cut_image(decode(path, plan.original), plan), {3, plan.target.height, plan.target.width});
}

at::Tensor load_mask(const std::filesystem::path& path, const CropPlan& plan, const MaskUse& use) {
  return to_tensor(cut_mask(decode(path, plan.original), plan, use),
                   {1, plan.target.height / use.cell, plan.target.width / use.cell});
}

void write_png(const std::filesystem::path& path, const at::Tensor& picture, const PngTexts& texts) {
  const at::Tensor samples = picture.add(1.0).mul_(127.5).round_().clamp_(0.0, 255.0).to(at::kByte);
  const at::Tensor rows = samples.permute({1, 2, 0}).contiguous();
  const std::vector<std::byte> bytes =
      image_module().encode_png({picture.size(2), picture.size(1)},
                                {rows.const_data_ptr<std::uint8_t>(), static_cast<std::size_t>(rows.numel())}, texts);
  write_file_atomically(path, std::span<const std::byte>(bytes));
}

}  // namespace dormer::data
