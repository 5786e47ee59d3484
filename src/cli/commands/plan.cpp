#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/command.hpp"
#include "cli/config_options.hpp"
#include "dormer/tensor/process.hpp"
#include "dormer/train/run_plan.hpp"

namespace dormer::cli::commands {
namespace {

constexpr double kMebibyte = 1024.0 * 1024.0;
constexpr std::int64_t kFloat = 4;  // bytes; parameters, gradients and moments are fp32

struct Options {
  ConfigOptions config;
  int ranks = 1;
};

double mebibytes(std::int64_t bytes) {
  return static_cast<double>(bytes) / kMebibyte;
}

void print_plan(const train::RunConfig& config, const train::RunPlan& plan) {
  fmt::print("run        {} in {}, {} updates, {} of warm-up\n", config.name(), config.run.directory.string(),
             plan.total_steps, plan.warmup_steps);
  fmt::print("model      {}\n", plan.model);
  const std::string of_rank = config.adapter.kind == "full" ? "" : fmt::format(" of rank {}", config.adapter.rank);
  fmt::print("adapter    {}{}{} on {} layers, {} parameters\n", config.adapter.decompose ? "decomposed " : "",
             config.adapter.kind, of_rank, plan.adapted_layers, plan.parameters);
  fmt::print("data       {} samples of {} tokens ({} tokens)\n", plan.training_samples, config.data.sequence_length,
             plan.training_tokens);
  fmt::print("update     {} samples in {} micro-batches of {}, {} leaves\n", config.batch.global, plan.micro_batches,
             config.batch.micro, plan.leaves);
  fmt::print(
      "memory     frozen layers {:.1f} MiB{}; a rank's values and gradients {:.1f} MiB; activations come on top\n",
      mebibytes(plan.base_bytes), plan.base_mapped ? ", mapped and shared by the ranks of a machine" : " in every rank",
      mebibytes(2 * plan.flat_elements * kFloat));
  for (std::size_t rank = 0; rank < plan.ranks.size(); ++rank) {
    fmt::print("rank {:<5} {} micro-batches, moments {:.1f} MiB, sends {:.1f} MiB an update\n", rank,
               plan.ranks[rank].micro_batches, mebibytes(2 * plan.ranks[rank].state_elements * kFloat),
               mebibytes(plan.ranks[rank].bytes_sent));
  }
}

int plan_and_print(const Options& options) {
  const train::RunConfig config = options.config.load();
  tensor::configure_process(config.run.threads);
  print_plan(config, train::plan_run(config, options.ranks));
  return 0;
}

Action declare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_config_options(app, options->config);
  app.add_option("--ranks", options->ranks, "For so many ranks.")->capture_default_str()->check(CLI::Range(1, 1 << 16));
  return [options] { return plan_and_print(*options); };
}

}  // namespace

Command plan() {
  return {"plan", "Tells what a run would do, and checks its files, without training.",
          "dormer plan configs/quickstart.yaml --ranks 2", declare};
}

}  // namespace dormer::cli::commands
