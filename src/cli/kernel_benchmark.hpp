#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/bench_device.hpp"
#include "cli/kernel_cases.hpp"

namespace dormer::cli {

/// One line of the result.
struct KernelRow {
  std::string name;
  std::string numbers;
  std::int64_t bytes = 0;       ///< moved by one call, at least
  std::int64_t floats = 0;      ///< floating-point operations of one call; 0: bytes are its price
  std::vector<double> seconds;  ///< of one call, in every round
};

/// Times every operation of the device's kernels, and before them what LibTorch reaches there: a copy, and a matrix
/// product for each type of numbers. A round is several calls on a GPU, one on a CPU.
[[nodiscard]] std::vector<KernelRow> measure_kernels(const KernelSizes& sizes, std::int64_t rounds,
                                                     const BenchDevice& device);

/// Rows as text: median time, bytes/s beside the copy's, FLOP/s where they count. The first row is the copy. Pure.
[[nodiscard]] std::string describe(const std::vector<KernelRow>& rows);

/// [{"name": …, "numbers": …, "bytes": …, "floats": …, "seconds": […]}, …]. Pure.
[[nodiscard]] std::string to_json(const std::vector<KernelRow>& rows);

}  // namespace dormer::cli
