#include <cstdio>
#include <filesystem>
#include <memory>

#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include "cli/adapter_conversion.hpp"
#include "cli/command.hpp"
#include "cli/ranks.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/interop/consumer.hpp"
#include "dormer/tensor/process.hpp"
#include "dormer/train/run.hpp"

namespace dormer::cli::commands {
namespace {

struct Options {
  std::string source;
  std::vector<std::string> overrides;
  ConversionRequest conversion;
  std::string output;
  std::string model;
  std::int64_t approximate = 0;
};

int export_stored(const Options& options) {
  const train::RunConfig config = train::load_run_config(options.source, options.overrides);
  tensor::configure_process(config.run.threads);
  return run_on_ranks([&](comm::Communicator& world) {
    const std::vector<std::filesystem::path> folders = train::export_run(config, world);
    for (const std::filesystem::path& folder : folders) {
      if (world.rank() == 0) {
        fmt::print("{}\n", folder.string());
      }
    }
    return 0;
  });
}

int export_adapter(const Options& options) {
  require(options.overrides.empty(), Fault::kUsage, "--set changes a configuration, and {} is an adapter; leave it out",
          options.source);
  require(!options.conversion.consumer.empty(), Fault::kUsage, "{} is an adapter; name the program by --for: {}",
          options.source, fmt::join(interop::consumer_registry().names(), ", "));
  require(!options.output.empty(), Fault::kUsage, "{} is an adapter; name the file or folder to write by --output",
          options.source);
  ConversionRequest request = options.conversion;
  request.source = options.source;
  request.output = options.output;
  if (!options.model.empty()) {
    request.model = options.model;
  }
  if (options.approximate > 0) {
    request.approximate = options.approximate;
  }
  const Conversion conversion = convert_adapter(request);
  for (const std::string& note : conversion.notes) {
    log::info("{}", note);
  }
  fmt::print("{}\n", conversion.output.string());
  return 0;
}

/// A configuration is a YAML file, an adapter a .safetensors file or a folder.
bool is_adapter(const Options& options) {
  std::error_code code;
  const std::filesystem::path source = options.source;
  return source.extension() == ".safetensors" || std::filesystem::is_directory(source, code) ||
         !options.conversion.consumer.empty();
}

void add_texts(CLI::App& app, interop::FileText& text) {
  constexpr const char* kGroup = "What the file says of itself";
  app.add_option("--title", text.title, "Its title, which WebUIs show.")->group(kGroup);
  app.add_option("--author", text.author, "Who made it.")->group(kGroup);
  app.add_option("--trigger", text.trigger, "Words that call what was learned.")->group(kGroup);
  app.add_option("--tag", text.tags, "A tag; may be given several times.")->group(kGroup);
  app.add_flag("--privacy", text.privacy, "Nothing of the source's paths, captions and times.")->group(kGroup);
}

Action declare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  constexpr const char* kGroup = "For an adapter";
  app.add_option("SOURCE", options->source, "A run's YAML file, or an adapter: a .safetensors file or a folder.")
      ->required();
  app.add_option("--set", options->overrides,
                 "Sets a key of the configuration: group.key=value; may be given several times.")
      ->type_name("KEY=VALUE");
  app.add_option("--from", options->conversion.form, "Form of the adapter; without it the form is recognized.")
      ->type_name("FORM")
      ->group(kGroup);
  app.add_option("--for", options->conversion.consumer, "Program that shall read the file.")
      ->type_name("PROGRAM")
      ->group(kGroup);
  app.add_option("--output", options->output, "File or folder to write.")->type_name("PATH")->group(kGroup);
  app.add_option(
         "--model", options->model,
         "The model's folder, or org/name in the offline cache: layers are compared with it. merged needs it, and "
         "takes a checkpoint of one file, too.")
      ->type_name("PATH")
      ->group(kGroup);
  app.add_option("--dtype", options->conversion.dtype, "float32, bfloat16 or float16.")
      ->type_name("DTYPE")
      ->capture_default_str()
      ->group(kGroup);
  app.add_flag("--allow-partial", options->conversion.allow_partial,
               "Leave out arrays that are not understood, and list them.")
      ->group(kGroup);
  app.add_option("--shard-gib", options->conversion.shard_gib, "GiB of arrays in one file of a merged folder, at most.")
      ->check(CLI::Range(0.0001, 1e6))
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--approximate", options->approximate,
                 "Write a plain LoRA of this rank in the adapter's place, and tell how far off it is; needs --model.")
      ->type_name("RANK")
      ->check(CLI::PositiveNumber)
      ->group(kGroup);
  add_texts(app, options->conversion.text);
  return [options] { return is_adapter(*options) ? export_adapter(*options) : export_stored(*options); };
}

}  // namespace

Command export_run() {
  return {"export", "Writes a run's exports from its checkpoints, or an adapter of any form for another program.",
          "dormer export configs/quickstart.yaml --set 'export=[{for: peft, dtype: bfloat16}]'\n"
          "  dormer export style.safetensors --for peft --output style-peft --model models/smollm2-135m",
          declare};
}

}  // namespace dormer::cli::commands
