#include "parallel/flat_buffer.hpp"

#include <utility>

#include <ATen/ops/empty.h>

#include "dormer/core/error.hpp"
#include "dormer/kernels/kernels.hpp"
#include "dormer/parallel/plan.hpp"
#include "dormer/tensor/device_kernels.hpp"
#include "dormer/tensor/device_memory.hpp"

namespace dormer::parallel {
namespace {

constexpr std::int64_t kBlocksInCache = 16;  // 256 KiB of each part

at::Tensor empty_on(std::int64_t count, at::ScalarType dtype, const std::string& device) {
  return at::empty({count}, at::TensorOptions(dtype).device(at::Device(device)));
}

}  // namespace

FlatBuffer::FlatBuffer(std::int64_t count, const std::string& device)
    : owner_(empty_on(count, at::kFloat, device)), values_(tensor::span_of(owner_)) {}

FlatArithmetic::FlatArithmetic(std::string device)
    : device_(std::move(device)), place_(empty_on(0, at::kFloat, device_)) {}

void FlatArithmetic::set_to_zero(std::span<float> values) const {
  tensor::kernels_for(place_).run(kernels::FillArguments{values.data(), 0.0F}, std::ssize(values));
}

void FlatArithmetic::add(std::span<float> left, std::span<const float> right) const {
  invariant(left.size() == right.size(), "{} elements are added to {}", right.size(), left.size());
  tensor::kernels_for(place_).run(kernels::AddArguments{left.data(), right.data()}, std::ssize(left));
}

void FlatArithmetic::copy(std::span<float> to, std::span<const float> from) const {
  if (!to.empty()) {
    tensor::borrowed(to, device_).copy_(tensor::borrowed(from, device_));
  }
}

std::vector<double> FlatArithmetic::block_squares(std::span<const float> values) const {
  const std::int64_t blocks = (std::ssize(values) + kNormBlock - 1) / kNormBlock;
  if (blocks == 0) {
    return {};
  }
  const at::Tensor sums = empty_on(blocks, at::kDouble, device_);
  tensor::kernels_for(place_).run(
      kernels::SquaredBlocksArguments{values.data(), sums.mutable_data_ptr<double>(), std::ssize(values), kNormBlock},
      blocks);
  const at::Tensor on_host = sums.cpu();  // the update's one wait for its gradient
  const auto* first = on_host.const_data_ptr<double>();
  return {first, first + blocks};
}

std::int64_t FlatArithmetic::elements_at_a_time(std::int64_t count) const {
  return place_.is_cpu() ? kBlocksInCache * kNormBlock : count;
}

}  // namespace dormer::parallel
