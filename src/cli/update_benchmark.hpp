#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/bench_device.hpp"
#include "dormer/core/dtype.hpp"

namespace dormer::cli {

/// What one update of training is measured on: seeded random tokens, all linear layers, AdamW.
struct UpdateBenchmark {
  std::filesystem::path model;
  DType dtype = DType::kF32;
  std::int64_t samples = 4;  ///< of one micro-batch, which is one update
  std::int64_t length = 256;
  std::int64_t rank = 16;
  std::int64_t rounds = 5;
  BenchDevice device{};  ///< where model, adapters and optimizer lie
};

/// One row of the result: seconds of every round.
struct BenchmarkRow {
  std::string name;
  std::vector<double> seconds;
  [[nodiscard]] double best() const;
  [[nodiscard]] double median() const;
};

/// Measures, alternately round by round: the floor (the frozen model's linear products alone, forward and
/// backward-to-input, blocks and head), an update of LoRA and an update of DoRA.
[[nodiscard]] std::vector<BenchmarkRow> measure_update(const UpdateBenchmark& benchmark);

/// Rows as text: best and median tokens/s, ratios to LoRA and to the floor, peak memory of the process.
[[nodiscard]] std::string describe(const UpdateBenchmark& benchmark, const std::vector<BenchmarkRow>& rows);

/// {"floor": [seconds, ...], "lora": ..., "dora": ...}
[[nodiscard]] std::string to_json(const std::vector<BenchmarkRow>& rows);

}  // namespace dormer::cli
