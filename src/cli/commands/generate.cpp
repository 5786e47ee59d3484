#include <charconv>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include "cli/command.hpp"
#include "dormer/core/atomic_file.hpp"
#include "dormer/core/error.hpp"
#include "dormer/inference/generate.hpp"
#include "dormer/tensor/process.hpp"
#include "dormer/train/stored_model.hpp"

namespace dormer::cli::commands {
namespace {

struct Options {
  train::StoredModelRequest model;
  std::optional<std::string> adapter;
  std::optional<std::string> tokens;
  std::optional<std::string> tokens_file;
  inference::GenerateOptions generate;
  std::int64_t threads = 1;
  bool json = false;
};

/// Numbers with commas, spaces or line ends between them.
std::vector<std::int64_t> parse_tokens(const std::string& text, const std::string& where) {
  std::vector<std::int64_t> tokens;
  const char* place = text.data();
  const char* const end = text.data() + text.size();
  while (place < end) {
    if (*place == ',' || *place == ' ' || *place == '\n' || *place == '\r' || *place == '\t') {
      ++place;
      continue;
    }
    std::int64_t token = 0;
    const auto [next, error] = std::from_chars(place, end, token);
    require(error == std::errc{} && token >= 0, Fault::kUsage, "{}: token {} is no number: '{}'", where,
            tokens.size() + 1, std::string(place, std::min<std::ptrdiff_t>(end - place, 20)));
    tokens.push_back(token);
    place = next;
  }
  return tokens;
}

const char* name_of(inference::Ending ending) {
  switch (ending) {
    case inference::Ending::kEndOfText:
      return "end_of_text";
    case inference::Ending::kLength:
      return "length";
    case inference::Ending::kPositions:
      return "positions";
  }
  return "";
}

int generate_tokens(Options options) {
  require(options.tokens.has_value() != options.tokens_file.has_value(), Fault::kUsage,
          "name one of --tokens and --tokens-file; see dormer generate --help");
  std::vector<std::int64_t> prompt =
      options.tokens ? parse_tokens(*options.tokens, "--tokens")
                     : parse_tokens(read_file(*options.tokens_file, "file of tokens"), *options.tokens_file);
  if (options.adapter) {
    options.model.adapter = *options.adapter;
  }
  tensor::configure_process(options.threads);
  const train::StoredModel stored = train::load_stored_model(options.model);
  const inference::Generation result =
      inference::generate(*stored.model, stored.adapters_or_null(), std::move(prompt), options.generate);
  if (options.json) {
    fmt::print("{{\"tokens\": [{}], \"log_probabilities\": [{}], \"ending\": \"{}\"}}\n",
               fmt::join(result.tokens, ", "), fmt::join(result.log_probabilities, ", "), name_of(result.ending));
  } else {
    fmt::print("{}\n", fmt::join(result.tokens, ","));
  }
  return 0;
}

Action declare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  app.add_option("--model", options->model.model, "Folder of a model.")->required();
  app.add_option("--adapter", options->adapter, "PEFT folder of an adapter; without it the model alone.");
  app.add_option("--tokens", options->tokens, "Token ids of the prompt, as 1,2,3.");
  app.add_option("--tokens-file", options->tokens_file, "A file that holds them.");
  app.add_option("--max-new-tokens,--max-new", options->generate.max_new_tokens, "Tokens to make at most.")
      ->capture_default_str();
  app.add_option("--temperature", options->generate.sampling.temperature, "0: always the likeliest token.")
      ->capture_default_str();
  app.add_option("--top-p", options->generate.sampling.top_p, "Only the likeliest tokens that reach this probability.")
      ->capture_default_str();
  app.add_option("--seed", options->generate.seed, "Decides every draw.")->capture_default_str();
  app.add_option("--dtype", options->model.dtype, "auto, float32 or bfloat16.")->capture_default_str();
  options->model.device = "auto";
  app.add_option("--device", options->model.device, "auto (a GPU where there is one), cpu or cuda.")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  app.add_option("--threads", options->threads, "Threads.")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_flag("--json", options->json, "Print an object with log-probabilities and the reason of the end.");
  return [options] { return generate_tokens(*options); };
}

}  // namespace

Command generate() {
  return {"generate", "Continues token ids (launch/generate.py turns text to ids and back).",
          "dormer generate --model models/smollm2-135m --adapter runs/quickstart/export/peft --tokens 504,3575,282",
          declare};
}

}  // namespace dormer::cli::commands
