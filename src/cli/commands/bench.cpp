#include <cstdio>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "cli/bench_device.hpp"
#include "cli/comm_benchmark.hpp"
#include "cli/command.hpp"
#include "cli/kernel_benchmark.hpp"
#include "cli/ranks.hpp"
#include "cli/update_benchmark.hpp"
#include "dormer/core/error.hpp"
#include "dormer/tensor/process.hpp"

namespace dormer::cli::commands {
namespace {

struct BenchOptions {
  UpdateBenchmark benchmark;
  KernelSizes sizes;
  CommBenchmark comm;
  std::string dtype = "float32";
  std::string device = "cpu";
  std::int64_t threads = 2;
  std::int64_t kernel_rounds = 9;
  bool json = false;
};

int run_updates(const BenchOptions& options) {
  require(!options.benchmark.work.model.empty(), Fault::kUsage,
          "--model is required: a Hugging Face folder; see dormer bench --help");
  UpdateBenchmark benchmark = options.benchmark;
  const auto dtype = dtype_from_name(options.dtype);
  require(dtype == DType::kF32 || dtype == DType::kBF16, Fault::kUsage, "--dtype: float32 or bfloat16, not '{}'",
          options.dtype);
  benchmark.work.dtype = *dtype;
  tensor::configure_process(options.threads);
  benchmark.device = take_bench_device(options.device);
  const BenchmarkResult result = measure_update(benchmark);
  std::fputs((options.json ? to_json(result) : describe(benchmark, result)).c_str(), stdout);
  return 0;
}

int run_kernels(const BenchOptions& options) {
  tensor::configure_process(options.threads);
  const BenchDevice device = take_bench_device(options.device);
  const std::vector<KernelRow> rows = measure_kernels(options.sizes, options.kernel_rounds, device);
  if (options.json) {
    std::fputs(to_json(rows).c_str(), stdout);
  } else {
    fmt::print("{}, {} x {} elements, {} logits a row\n{}", device.description, options.sizes.rows, options.sizes.width,
               options.sizes.vocabulary, describe(rows));
  }
  return 0;
}

int run_comm(const BenchOptions& options) {
  return run_on_ranks([&](comm::Communicator& world) {
    const CommReport report = measure_comm(world, options.comm);
    if (world.rank() == 0) {
      std::fputs((options.json ? to_json(report) : describe(report, options.comm)).c_str(), stdout);
      std::fflush(stdout);
    }
    return 0;
  });
}

template <typename Value>
void add_size(CLI::App& app, const std::string& name, Value& value, const std::string& text) {
  app.add_option(name, value, text)->capture_default_str()->check(CLI::PositiveNumber);
}

/// What both benchmarks ask.
void add_place(CLI::App& app, BenchOptions& options) {
  app.add_option("--device", options.device, "cpu, cuda or auto")->capture_default_str();
  add_size(app, "--threads", options.threads, "threads of this process");
  app.add_flag("--json", options.json, "print the seconds of every round as JSON");
}

CLI::App* declare_kernels(CLI::App& app, BenchOptions& options) {
  CLI::App* kernels = app.add_subcommand("kernels", "Measures every kernel of a device: bytes/s beside a copy's.");
  add_place(*kernels, options);
  add_size(*kernels, "--rows", options.sizes.rows, "rows of the arrays: tokens");
  add_size(*kernels, "--width", options.sizes.width, "elements of a row");
  add_size(*kernels, "--vocabulary", options.sizes.vocabulary, "logits of a row");
  add_size(*kernels, "--rounds", options.kernel_rounds, "rounds measured of each");
  kernels->footer("Example:\n  dormer bench kernels --device cuda");
  return kernels;
}

CLI::App* declare_comm(CLI::App& app, BenchOptions& options) {
  CLI::App* comm = app.add_subcommand("comm", "Measures how the ranks of a job reach each other, before a long one.");
  add_size(*comm, "--mebibytes", options.comm.mebibytes, "size of messages and buffers");
  add_size(*comm, "--rounds", options.comm.rounds, "rounds measured of each");
  comm->add_flag("--json", options.json, "print the report as JSON");
  comm->footer("Example:\n  mpirun -np 2 dormer bench comm");
  return comm;
}

}  // namespace

Command bench() {
  return {.name = "bench",
          .purpose =
              "Measures updates of LoRA, DoRA and other kinds beside the frozen model alone, single kernels, or the "
              "ranks' network.",
          .example =
              "dormer bench --model models/smollm2-135m --dtype bfloat16 --threads 2 --rounds 9\n"
              "  dormer bench --model models/sdxl --samples 1 --resolution 1024 --adapters lora,dora,lokr-dora\n"
              "  dormer bench kernels --device cuda\n"
              "  mpirun -np 2 dormer bench comm",
          .declare = [](CLI::App& app) -> Action {
            auto options = std::make_shared<BenchOptions>();
            app.require_subcommand(0, 1);
            UpdateBenchmark& updates = options->benchmark;
            app.add_option(
                "--model", updates.work.model,
                "a Hugging Face folder: a language model, or a diffusion model, of which the denoiser is read");
            app.add_option("--dtype", options->dtype, "float32 or bfloat16")->capture_default_str();
            app.add_option(
                   "--adapters", updates.adapters,
                   "kinds of adapters: lora, dora, locon, loha, lokr; with -dora or -dora-input behind it, decomposed")
                ->capture_default_str()
                ->delimiter(',');
            add_size(app, "--samples", updates.work.samples, "samples of an update, in one micro-batch");
            add_size(app, "--length", updates.work.length, "language models: tokens of a sample");
            add_size(app, "--resolution", updates.work.resolution, "diffusion models: pixels of an image's sides");
            add_size(app, "--rank", updates.rank, "rank of the adapters");
            add_size(app, "--rounds", updates.rounds, "updates measured of each");
            add_place(app, *options);
            const CLI::App* kernels = declare_kernels(app, *options);
            const CLI::App* comm = declare_comm(app, *options);
            return [options, kernels, comm] {
              return comm->parsed()      ? run_comm(*options)
                     : kernels->parsed() ? run_kernels(*options)
                                         : run_updates(*options);
            };
          }};
}

}  // namespace dormer::cli::commands
