#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/byte_size.hpp"
#include "cli/command.hpp"
#include "cli/config_options.hpp"
#include "cli/plan_output.hpp"
#include "dormer/core/error.hpp"
#include "dormer/tensor/memory.hpp"
#include "dormer/tensor/process.hpp"
#include "dormer/train/run_plan.hpp"

namespace dormer::cli::commands {
namespace {

constexpr int kMaximumRanks = 1 << 16;

struct Options {
  ConfigOptions config;
  int ranks = 1;
  std::optional<int> ranks_per_machine;
  std::string gpu_memory;
  bool json = false;
};

int plan_and_print(const Options& options) {
  const train::RunConfig config = options.config.load();
  tensor::configure_process(config.run.threads);
  train::PlanTarget target{.ranks = options.ranks, .ranks_per_machine = options.ranks_per_machine, .gpu_memory = {}};
  if (!options.gpu_memory.empty()) {
    target.gpu_memory = parse_bytes(options.gpu_memory);
    require(target.gpu_memory.has_value(), Fault::kUsage, "--gpu-memory '{}' is no size; write 24GiB or 80GB",
            options.gpu_memory);
  }
  const train::RunPlan plan = train::plan_run(config, target);
  const std::int64_t program = tensor::peak_resident_bytes();  // no weights are loaded: this is the program itself
  fmt::print("{}", options.json ? plan_json(config, plan, program) : plan_text(config, plan, program));
  return 0;
}

Action declare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_config_options(app, options->config);
  app.add_option("--ranks", options->ranks, "For so many ranks.")
      ->capture_default_str()
      ->check(CLI::Range(1, kMaximumRanks));
  app.add_option("--ranks-per-machine", options->ranks_per_machine, "So many of them on each machine; default all.")
      ->check(CLI::Range(1, kMaximumRanks));
  app.add_option("--gpu-memory", options->gpu_memory,
                 "For GPUs of this size (24GiB, 80GB): whether a rank fits, and what to change where it does not.");
  app.add_flag("--json", options->json, "One JSON object, sizes in bytes.");
  return [options] { return plan_and_print(*options); };
}

}  // namespace

Command plan() {
  return {"plan", "Tells what a run would take of memory, network and disk, without GPU, weights or training.",
          "dormer plan configs/quickstart.yaml --ranks 2\n  dormer plan configs/quickstart.yaml --gpu-memory 24GiB",
          declare};
}

}  // namespace dormer::cli::commands
