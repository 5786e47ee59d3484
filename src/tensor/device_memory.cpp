#include "dormer/tensor/device_memory.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>

#include "dormer/core/error.hpp"

namespace dormer::tensor {

at::Tensor borrowed(std::span<float> values, const std::string& device) {
  const at::Device place(device);
  return at::for_blob(values.data(), {std::ssize(values)})
      .target_device(place)
      .options(at::TensorOptions(at::kFloat).device(place))
      .make_tensor();
}

at::Tensor borrowed(std::span<const float> values, const std::string& device) {
  return borrowed(std::span(const_cast<float*>(values.data()), values.size()), device);
}

std::vector<float> on_host(std::span<const float> values, const std::string& device) {
  std::vector<float> copy(values.size());
  if (!copy.empty()) {
    borrowed(std::span(copy), "cpu").copy_(borrowed(values, device));
  }
  return copy;
}

std::span<float> span_of(const at::Tensor& values) {
  invariant(values.is_contiguous(), "a span of a tensor that is not contiguous");
  return {values.mutable_data_ptr<float>(), static_cast<std::size_t>(values.numel())};
}

}  // namespace dormer::tensor
