#include "dormer/tensor/memory.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <gtest/gtest.h>

#include "dormer/tensor/process.hpp"

namespace dormer::tensor {
namespace {

/// That `bytes` are what so many numbers in fp32 take, an allocation being rounded up by less than 64 bytes.
void expect_numbers(std::int64_t bytes, std::int64_t numbers, std::int64_t allocations) {
  EXPECT_GE(bytes, 4 * numbers);
  EXPECT_LT(bytes, 4 * numbers + 64 * allocations);
}

class TensorBytes : public ::testing::TestWithParam<TensorMemory> {
 protected:
  static void SetUpTestSuite() { configure_process(1); }
  [[nodiscard]] static at::TensorOptions options() {
    return {GetParam() == TensorMemory::kHost ? at::kCPU : at::kMeta};
  }
};

TEST_P(TensorBytes, AreCountedAndTheirPeakKept) {
  const std::int64_t before = memory_use(GetParam()).live;
  reset_peak_memory(GetParam());
  {
    const at::Tensor a = at::empty({64, 128}, options());
    const at::Tensor b = at::empty({128, 32}, options());
    const at::Tensor view = a.narrow(0, 3, 5).view({-1});
    expect_numbers(memory_use(GetParam()).live - before, 64 * 128 + 128 * 32, 2);
    const at::Tensor product = at::mm(a, b);
    expect_numbers(memory_use(GetParam()).live - before, 64 * 128 + 128 * 32 + 64 * 32, 3);
  }
  EXPECT_EQ(memory_use(GetParam()).live, before);
  expect_numbers(memory_use(GetParam()).peak - before, 64 * 128 + 128 * 32 + 64 * 32, 3);
  reset_peak_memory(GetParam());
  EXPECT_EQ(memory_use(GetParam()).peak, before);
}

INSTANTIATE_TEST_SUITE_P(Memories, TensorBytes, ::testing::Values(TensorMemory::kHost, TensorMemory::kShapes),
                         [](const auto& instance) {
                           return instance.param == TensorMemory::kHost ? "host" : "shapes";
                         });

TEST(ResidentBytes, GrowWithWhatIsTouched) {
  EXPECT_GT(peak_resident_bytes(), std::int64_t{1} << 20);
}

}  // namespace
}  // namespace dormer::tensor
