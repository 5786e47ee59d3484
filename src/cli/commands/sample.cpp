#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/command.hpp"
#include "dormer/cache/encoded_texts.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/data/prompt_lines.hpp"
#include "dormer/inference/image_generation.hpp"
#include "dormer/inference/image_sampler.hpp"
#include "dormer/tensor/process.hpp"
#include "dormer/train/pictures.hpp"
#include "dormer/train/stored_image_model.hpp"

namespace dormer::cli::commands {
namespace {

struct Options {
  train::StoredImageModelRequest model;
  std::optional<std::string> prompt;
  std::optional<std::string> prompts_file;
  train::SamplesSection settings;
  std::filesystem::path output = "samples";
  cache::TextRules text;
  std::optional<std::string> embeddings;
  std::int64_t threads = 1;
};

std::vector<data::PromptLine> prompts_of(const Options& options) {
  require(options.prompt.has_value() != options.prompts_file.has_value(), Fault::kUsage,
          "name one of --prompt and --prompts; see dormer sample --help");
  if (options.prompts_file) {
    std::vector<data::PromptLine> lines = data::read_prompt_lines(*options.prompts_file);
    require(!lines.empty(), Fault::kInput, "{} has no prompt", *options.prompts_file);
    return lines;
  }
  data::PromptLine line;
  line.prompt = *options.prompt;
  return {line};
}

cache::TextRules rules_of(const Options& options, const model::ImageModel& model) {
  cache::TextRules rules = options.text;
  if (options.embeddings) {
    rules.imported = std::make_shared<const cache::ImportedStates>(*options.embeddings);
    rules.imported->require_suited(model.denoiser()->facts());
  }
  return rules;
}

int sample_pictures(const Options& options) {
  const std::vector<data::PromptLine> prompts = prompts_of(options);
  tensor::configure_process(options.threads);
  const train::StoredImageModel stored = train::load_stored_image_model(options.model);
  std::error_code code;
  std::filesystem::create_directories(options.output, code);
  require(!code, Fault::kIo, "cannot make {}: {}", options.output.string(), code.message());
  const std::vector<train::Picture> pictures = train::prepare_pictures(
      prompts, options.settings, *stored.model, stored.tokenizers, rules_of(options, *stored.model));
  for (std::size_t index = 0; index < pictures.size(); ++index) {
    const std::filesystem::path file = options.output / fmt::format("{:04}.png", index);
    static_cast<void>(train::write_picture({.model = *stored.model, .prediction = stored.model->noise().prediction},
                                           stored.adapters.get(), pictures[index], file));
    log::info("{}", file.string());
  }
  return 0;
}

Action declare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  app.add_option("--model", options->model.model,
                 "Folder of a diffusion model, as diffusers writes it, or a checkpoint in one file.")
      ->required();
  app.add_option("--tokenizer", options->model.tokenizer,
                 "Folder with CLIP's vocabulary, for a checkpoint in one file.");
  app.add_option("--prediction", options->model.prediction,
                 "epsilon or v_prediction, for a checkpoint in one file that does not say it.")
      ->check(CLI::IsMember({"epsilon", "v_prediction"}));
  app.add_option("--adapter", options->model.adapter, "Adapter's file; without it the model alone.");
  app.add_option("--prompt", options->prompt, "Text of the picture.");
  app.add_option("--prompts", options->prompts_file,
                 "File with a prompt a line, in kohya's form (--n --w --h --d --l --s).");
  app.add_option("--negative", options->settings.negative, "Text that the picture is led away from.");
  app.add_option("--sampler", options->settings.sampler, "How noise becomes a picture.")
      ->capture_default_str()
      ->check(CLI::IsMember(inference::image_samplers().names()));
  app.add_option(
         "--spacing", options->settings.spacing,
         "Which timesteps the sampler takes: auto (as the model's scheduler says), leading, trailing, linspace.")
      ->capture_default_str()
      ->check(CLI::IsMember(inference::spacing_choices()));
  app.add_option("--steps", options->settings.steps, "Steps of the sampler.")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--guidance", options->settings.guidance, "Scale of classifier-free guidance; 1: the prompt alone.")
      ->capture_default_str();
  app.add_option("--seed", options->settings.seed, "Decides the noise.")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  app.add_option("--width", options->settings.width, "Pixels.")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--height", options->settings.height, "Pixels.")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--output", options->output, "Folder of the pictures: 0000.png, ….")->capture_default_str();
  app.add_option("--clip-skip", options->text.skipped_layers, "Last layers of the text encoders that are left out.")
      ->capture_default_str();
  app.add_option("--max-tokens", options->text.max_tokens, "Tokens of a prompt that count, in pieces of 75.")
      ->capture_default_str();
  app.add_option("--embeddings", options->embeddings,
                 "File with the states of prompts by T5, as text.embeddings, for Stable Diffusion 3.");
  app.add_option("--dtype", options->model.dtype, "auto, float32 or bfloat16.")->capture_default_str();
  app.add_option("--device", options->model.device, "auto (a GPU where there is one), cpu or cuda.")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  app.add_option("--threads", options->threads, "Threads.")->capture_default_str()->check(CLI::PositiveNumber);
  return [options] { return sample_pictures(*options); };
}

}  // namespace

Command sample() {
  return {
      "sample", "Makes pictures of prompts with a diffusion model.",
      "dormer sample --model models/sd15 --adapter runs/sd15_dora/export/diffusers --prompt \"a photo of a teapot\"",
      declare};
}

}  // namespace dormer::cli::commands
