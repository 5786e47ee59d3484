#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/command.hpp"
#include "cli/config_options.hpp"
#include "cli/ranks.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/tensor/process.hpp"
#include "dormer/train/evaluate.hpp"
#include "dormer/train/stored_model.hpp"

namespace dormer::cli::commands {
namespace {

/// What the line says; each wins over the configuration.
struct Options {
  ConfigOptions config;
  std::optional<std::string> model;
  std::optional<std::string> adapter;
  std::optional<std::string> data;
  std::optional<std::string> dtype;
  std::optional<std::string> logits;
  std::optional<std::int64_t> samples;
  std::optional<std::int64_t> sequence_length;
  std::optional<std::int64_t> micro;
  std::optional<std::int64_t> threads;
  bool quiet = false;
};

train::RunConfig configured(const Options& options) {
  train::RunConfig config;
  if (!options.config.file.empty()) {
    config = options.config.load();
  } else {
    require(options.model && options.data, Fault::kUsage,
            "name a CONFIG, or --model and --data; see dormer evaluate --help");
    require(options.config.overrides.empty(), Fault::kUsage, "--set changes a CONFIG, and none is named");
  }
  config.model.path = options.model.value_or(config.model.path.string());
  config.model.dtype = options.dtype.value_or(config.model.dtype);
  config.data.validation = options.data.value_or(config.data.validation.string());
  config.data.sequence_length = options.sequence_length.value_or(config.data.sequence_length);
  config.validation.samples = options.samples.value_or(config.validation.samples);
  config.batch.micro = options.micro.value_or(config.batch.micro);
  config.run.threads = options.threads.value_or(config.run.threads);
  return config;
}

int evaluate_model(const Options& options) {
  train::RunConfig config = configured(options);
  train::EvaluateOptions evaluate_options;
  if (options.adapter) {
    evaluate_options.adapter = *options.adapter;
    config.adapter = train::stored_adapter_config(*options.adapter);
  }
  if (options.logits) {
    evaluate_options.logits = *options.logits;
  }
  tensor::configure_process(config.run.threads);
  return run_on_ranks([&](comm::Communicator& world) {
    const train::Evaluation result = train::evaluate(config, world, evaluate_options);
    if (world.rank() == 0 && options.quiet) {
      fmt::print("{:.6f}\n", result.loss);
    } else if (world.rank() == 0 && config.data.kind == "images") {
      fmt::print("held-out loss {:.6f} ({} images)\n", result.loss, result.samples);
      for (const auto& [name, loss] : result.concepts) {
        fmt::print("  of {} {:.6f}\n", name, loss);
      }
    } else if (world.rank() == 0) {
      fmt::print("held-out loss {:.6f} ({} samples of {} tokens)\n", result.loss, result.samples,
                 config.data.sequence_length);
    }
    return 0;
  });
}

Action declare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_config_options(app, options->config);
  app.get_option("CONFIG")->required(false);
  app.add_option("--model", options->model, "Folder of a model, instead of the configuration's.");
  app.add_option("--adapter", options->adapter, "Adapter, in any form; without it the model alone.");
  app.add_option("--data", options->data, "Token set, instead of data.validation.");
  app.add_option("--samples", options->samples, "Samples, the first of the set (validation.samples, else 64).")
      ->check(CLI::PositiveNumber);
  app.add_option("--sequence-length", options->sequence_length, "Tokens of a sample (data.sequence_length, else 1024).")
      ->check(CLI::PositiveNumber);
  app.add_option("--micro", options->micro, "Samples of one forward pass (batch.micro, else 1).")
      ->check(CLI::PositiveNumber);
  app.add_option("--threads", options->threads, "Threads of every rank (run.threads, else 1).")
      ->check(CLI::PositiveNumber);
  app.add_option("--dtype", options->dtype, "auto, float32 or bfloat16 (model.dtype, else auto).");
  app.add_option("--logits", options->logits,
                 "Also write the first sample's tokens and logits into this safetensors file.");
  app.add_flag("--quiet", options->quiet, "Print the loss alone, on standard output.");
  return [options] {
    if (options->quiet) {
      log::set_level(log::Level::kWarning);
    }
    return evaluate_model(*options);
  };
}

}  // namespace

Command evaluate() {
  return {"evaluate", "Measures the held-out loss of a model, alone or with an adapter.",
          "dormer evaluate configs/quickstart.yaml --adapter runs/quickstart/export/peft\n"
          "  dormer evaluate --model models/smollm2-135m --data data/manpages/validation.h5 --sequence-length 256",
          declare};
}

}  // namespace dormer::cli::commands
