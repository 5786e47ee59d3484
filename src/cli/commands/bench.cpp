#include <cstdio>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "cli/command.hpp"
#include "cli/update_benchmark.hpp"
#include "dormer/core/error.hpp"
#include "dormer/tensor/process.hpp"

namespace dormer::cli::commands {
namespace {

struct BenchOptions {
  UpdateBenchmark benchmark;
  std::string dtype = "float32";
  std::int64_t threads = 2;
  bool json = false;
};

int run_bench(const BenchOptions& options) {
  UpdateBenchmark benchmark = options.benchmark;
  const auto dtype = dtype_from_name(options.dtype);
  require(dtype == DType::kF32 || dtype == DType::kBF16, Fault::kUsage, "--dtype: float32 or bfloat16, not '{}'",
          options.dtype);
  benchmark.dtype = *dtype;
  tensor::configure_process(options.threads);
  const std::vector<BenchmarkRow> rows = measure_update(benchmark);
  std::fputs((options.json ? to_json(rows) : describe(benchmark, rows)).c_str(), stdout);
  return 0;
}

}  // namespace

Command bench() {
  return {.name = "bench",
          .purpose = "Measures updates of LoRA and DoRA against the frozen products alone, alternately.",
          .example = "dormer bench --model models/smollm2-135m --dtype bfloat16 --threads 2 --rounds 9",
          .declare = [](CLI::App& app) -> Action {
            auto options = std::make_shared<BenchOptions>();
            app.add_option("--model", options->benchmark.model, "a Hugging Face folder")->required();
            app.add_option("--dtype", options->dtype, "float32 or bfloat16")->capture_default_str();
            app.add_option("--samples", options->benchmark.samples, "samples of an update, in one micro-batch")
                ->capture_default_str()
                ->check(CLI::PositiveNumber);
            app.add_option("--length", options->benchmark.length, "tokens of a sample")
                ->capture_default_str()
                ->check(CLI::PositiveNumber);
            app.add_option("--rank", options->benchmark.rank, "rank of the adapters")
                ->capture_default_str()
                ->check(CLI::PositiveNumber);
            app.add_option("--rounds", options->benchmark.rounds, "updates measured of each")
                ->capture_default_str()
                ->check(CLI::PositiveNumber);
            app.add_option("--threads", options->threads, "threads of this process")
                ->capture_default_str()
                ->check(CLI::PositiveNumber);
            app.add_flag("--json", options->json, "print the seconds of every round as JSON");
            return [options] { return run_bench(*options); };
          }};
}

}  // namespace dormer::cli::commands
