#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/bench_device.hpp"
#include "cli/benchmarked_model.hpp"

namespace dormer::cli {

/// Updates of a few kinds of adapters on one model, with AdamW.
struct UpdateBenchmark {
  BenchmarkWork work{};
  std::vector<std::string> adapters{"lora", "dora"};  ///< kinds; KIND-dora decomposes by output, KIND-dora-input
                                                      ///< by input, dora is lora-dora
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

/// The rows, and what they are measured in.
struct BenchmarkResult {
  std::string unit;         ///< "tokens" or "images"
  std::int64_t amount = 0;  ///< of an update
  std::vector<BenchmarkRow> rows{};
};

/// Measures, alternately round by round: the floor of the model, then an update of every kind of adapter. Throws usage
/// errors for adapters that there are not.
[[nodiscard]] BenchmarkResult measure_update(const UpdateBenchmark& benchmark);

/// Rows as text: best and median rate, ratios to the first adapter and to the floor, peak memory of the process.
[[nodiscard]] std::string describe(const UpdateBenchmark& benchmark, const BenchmarkResult& result);

/// {"floor": [seconds, ...], "lora": ..., "dora": ...}
[[nodiscard]] std::string to_json(const BenchmarkResult& result);

}  // namespace dormer::cli
