#include "kernel_benchmark.hpp"

#include <algorithm>
#include <chrono>
#include <functional>
#include <utility>

#include <fmt/ranges.h>

#include <ATen/core/Tensor.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>

#include "dormer/tensor/device_kernels.hpp"
#include "dormer/tensor/differentiable.hpp"

namespace dormer::cli {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : 0.5 * (values[middle - 1] + values[middle]);
}

/// Seconds of one call in every round. The first call, which pays for pages and choices, is not counted.
class Stopwatch {
 public:
  // On a GPU calls return at once: several in a row hide what starting one costs.
  Stopwatch(const BenchDevice& device, std::int64_t rounds)
      : device_(device), rounds_(rounds), calls_(device.name == "cpu" ? 1 : 10) {}

  [[nodiscard]] std::vector<double> measure(const std::function<void()>& call) const {
    call();
    device_.synchronize();
    std::vector<double> seconds;
    for (std::int64_t round = 0; round < rounds_; ++round) {
      const double start = now();
      for (std::int64_t i = 0; i < calls_; ++i) {
        call();
      }
      device_.synchronize();
      seconds.push_back((now() - start) / static_cast<double>(calls_));
    }
    return seconds;
  }

 private:
  const BenchDevice& device_;
  std::int64_t rounds_;
  std::int64_t calls_;
};

KernelRow measure_copy(const KernelSizes& sizes, const Stopwatch& stopwatch, const std::string& device) {
  const at::Tensor from = at::ones({sizes.rows, sizes.width}, at::TensorOptions(at::kFloat).device(at::Device(device)));
  const at::Tensor to = at::ones({sizes.rows, sizes.width}, from.options());
  return {.name = "copy (LibTorch)",
          .numbers = "float32",
          .bytes = 2 * sizes.rows * sizes.width * 4,
          .floats = 0,
          .seconds = stopwatch.measure([&] { to.copy_(from); })};
}

KernelRow measure_product(const KernelSizes& sizes, const Stopwatch& stopwatch, const std::string& device, bool half) {
  const at::TensorOptions options = at::TensorOptions(half ? at::kBFloat16 : at::kFloat).device(at::Device(device));
  const at::Tensor x = at::ones({sizes.rows, sizes.width}, options);
  const at::Tensor weight = at::ones({sizes.width, sizes.width}, options);
  const std::int64_t elements = 2 * sizes.rows * sizes.width + sizes.width * sizes.width;
  return {.name = "product (LibTorch)",
          .numbers = half ? "bfloat16" : "float32",
          .bytes = elements * (half ? 2 : 4),
          .floats = 2 * sizes.rows * sizes.width * sizes.width,
          .seconds = stopwatch.measure([&] { static_cast<void>(at::mm(x, weight)); })};
}

}  // namespace

std::vector<KernelRow> measure_kernels(const KernelSizes& sizes, std::int64_t rounds, const BenchDevice& device) {
  const tensor::NoRecording guard;
  const Stopwatch stopwatch(device, rounds);
  std::vector<KernelRow> rows{measure_copy(sizes, stopwatch, device.name)};
  for (const bool half : {false, true}) {
    rows.push_back(measure_product(sizes, stopwatch, device.name, half));
  }
  const at::Tensor place = at::ones({1}, at::TensorOptions(at::kFloat).device(at::Device(device.name)));
  const kernels::Kernels& kernels = tensor::kernels_for(place);
  DeviceArrays arrays(device.name);
  for (const KernelCase& kernel : kernel_cases(sizes)) {
    const auto call = kernel.prepare(arrays);
    rows.push_back(
        {kernel.name, kernel.numbers, kernel.bytes, kernel.floats, stopwatch.measure([&] { call(kernels); })});
    arrays.release();
  }
  return rows;
}

std::string describe(const std::vector<KernelRow>& rows) {
  const auto rate = [](const KernelRow& row) { return static_cast<double>(row.bytes) / median(row.seconds); };
  std::string text = fmt::format("{:28} {:9} {:>12} {:>10} {:>9} {:>10}\n", "kernel", "numbers", "microseconds", "GB/s",
                                 "of copy", "GFLOP/s");
  for (const KernelRow& row : rows) {
    const double seconds = median(row.seconds);
    text += fmt::format("{:28} {:9} {:12.1f} {:10.1f} {:9.2f} {:>10}\n", row.name, row.numbers, seconds * 1e6,
                        rate(row) / 1e9, rate(row) / rate(rows.front()),
                        row.floats > 0 ? fmt::format("{:.1f}", static_cast<double>(row.floats) / seconds / 1e9) : "");
  }
  return text;
}

std::string to_json(const std::vector<KernelRow>& rows) {
  std::vector<std::string> objects;
  for (const KernelRow& row : rows) {
    objects.push_back(
        fmt::format(R"({{"name": "{}", "numbers": "{}", "bytes": {}, "floats": {}, "seconds": [{:.9f}]}})", row.name,
                    row.numbers, row.bytes, row.floats, fmt::join(row.seconds, ", ")));
  }
  return fmt::format("[{}]\n", fmt::join(objects, ",\n "));
}

}  // namespace dormer::cli
