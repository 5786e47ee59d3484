#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <gtest/gtest.h>

#include "dormer/device/cuda_module.hpp"
#include "dormer/kernels/kernels.hpp"
#include "kernels/operation_cases.hpp"
#include "support/temp_directory.hpp"
#include "support/tiny_model.hpp"
#include "support/tiny_update.hpp"

namespace dormer::test {
namespace {

const char* const kGpu = "cuda:0";

/// Arrays in LibTorch's memory of the first GPU.
class GpuMemory final : public kernels::Memory {
 public:
  [[nodiscard]] void* copied_in(const void* host, std::size_t bytes) override {
    const auto count = static_cast<std::int64_t>(bytes);
    arrays_.push_back(at::from_blob(const_cast<void*>(host), {count}, at::kByte).to(at::Device(kGpu)));
    return arrays_.back().mutable_data_ptr();
  }
  void copy_out(void* host, const void* from, std::size_t bytes) override {
    const auto count = static_cast<std::int64_t>(bytes);
    at::from_blob(host, {count}, at::kByte)
        .copy_(at::from_blob(const_cast<void*>(from), {count}, at::TensorOptions(at::kByte).device(at::Device(kGpu))));
  }

 private:
  std::vector<at::Tensor> arrays_;
};

class EveryOperationOnAGpu : public ::testing::TestWithParam<kernels::OperationCase> {};

TEST_P(EveryOperationOnAGpu, IsWhatTheFunctorLoopsGive) {
  const device::CudaModule& module = device::load_cuda_module();
  module.select(0);
  GpuMemory gpu;
  kernels::HostMemory host;
  const auto functors = kernels::functor_loops();
  EXPECT_LE(kernels::rounding_excess(GetParam(), GetParam().results(module.kernels(), gpu),
                                     GetParam().results(*functors, host)),
            1.0);
}

INSTANTIATE_TEST_SUITE_P(Kernels, EveryOperationOnAGpu, ::testing::ValuesIn(kernels::operation_cases()),
                         [](const auto& test) {
                           return test.param.name + (test.param.half ? "_bfloat16_" : "_float32_") +
                                  std::to_string(test.index);
                         });

TEST(UpdateOnAGpu, IsTheUpdateOnTheHost) {
  device::load_cuda_module().select(0);
  const TempDirectory folder;
  write_tiny_model(folder.path());
  const std::vector<at::Tensor> exact = one_update(folder.path(), DType::kF32);
  expect_close(one_update(folder.path(), DType::kF32, kGpu), exact, update_tolerance(DType::kF32));
  expect_as_near(one_update(folder.path(), DType::kBF16, kGpu), one_update(folder.path(), DType::kBF16), exact);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    expect_close(capped_attention(dtype, kGpu), capped_attention(dtype), update_tolerance(dtype));
    expect_close(scaled_images(dtype, kGpu), scaled_images(dtype), update_tolerance(dtype));
  }
}

/// No atomics anywhere: deterministic runs rest on it.
TEST(UpdateOnAGpu, HasTheSameBitsTwice) {
  device::load_cuda_module().select(0);
  const TempDirectory folder;
  write_tiny_model(folder.path());
  const std::vector<at::Tensor> first = one_update(folder.path(), DType::kBF16, kGpu);
  const std::vector<at::Tensor> second = one_update(folder.path(), DType::kBF16, kGpu);
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_TRUE(first[i].equal(second[i])) << "tensor " << i;
  }
}

}  // namespace
}  // namespace dormer::test
