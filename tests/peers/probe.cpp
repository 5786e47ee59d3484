// What the peer tests ask the rooms themselves, in fp32:
//   probe logits    MODEL ADAPTER|- TOKENS OUT   logits [samples, length, vocabulary] of "tokens" [samples, length]
//   probe gradients MODEL ADAPTER   TOKENS OUT   mean loss of "tokens" [samples, length + 1] and parameters' gradients
//   probe dropout   MODEL ADAPTER   TOKENS OUT   the same with dropout, its masks "mask.<site>" and the "logits"
//   probe generate  MODEL ADAPTER|- TOKENS OUT   24 greedy tokens, with and without a cache, after "tokens" [1, length]
// TOKENS and OUT are safetensors files, MODEL a Hugging Face folder, ADAPTER a PEFT folder.

#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include "dormer/adapter/adapter_set.hpp"
#include "dormer/core/error.hpp"
#include "dormer/inference/generate.hpp"
#include "dormer/interop/adapter_format.hpp"
#include "dormer/model/language_model.hpp"
#include "dormer/objective/next_token.hpp"
#include "dormer/storage/safetensors.hpp"
#include "dormer/tensor/dropout.hpp"
#include "dormer/train/stored_model.hpp"

namespace dormer {
namespace {

struct Arguments {
  std::string command;
  std::filesystem::path model;
  std::filesystem::path adapter;
  std::filesystem::path tokens;
  std::filesystem::path out;
};

/// Arrays that wait to be written; keeps their memory.
class Output {
 public:
  void add(const std::string& name, const at::Tensor& values, DType dtype) {
    const at::Tensor& kept = kept_.emplace_back(values.contiguous());
    arrays_.push_back({.name = name,
                       .dtype = dtype,
                       .shape = {kept.sizes().begin(), kept.sizes().end()},
                       .bytes = {static_cast<const std::byte*>(kept.const_data_ptr()), kept.nbytes()}});
  }
  void write(const std::filesystem::path& path) const { storage::write_safetensors(path, arrays_, {}); }

 private:
  std::vector<at::Tensor> kept_;
  std::vector<storage::NamedArray> arrays_;
};

at::Tensor read_array(const std::filesystem::path& path, const std::string& name, at::ScalarType type) {
  const auto file = storage::SafetensorsFile::open(path);
  const storage::TensorEntry* entry = file->find(name);
  require(entry != nullptr, Fault::kInput, "{} has no {}", path.string(), name);
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): cloned at once
  void* bytes = const_cast<std::byte*>(file->bytes(*entry).data());
  return at::from_blob(bytes, entry->shape, type).clone();
}

/// The name in a PEFT file of a parameter of the flat space.
std::string peft_name(const tensor::ParameterEntry& entry) {
  const std::string& name = entry.name;
  if (entry.role == tensor::ParameterRole::kFull) {
    return "base_model.model." + name;
  }
  constexpr std::string_view kMagnitude = ".magnitude";
  if (name.ends_with(kMagnitude)) {
    return "base_model.model." + name.substr(0, name.size() - kMagnitude.size()) + ".lora_magnitude_vector";
  }
  return "base_model.model." + name + (name.find(".lora_embedding_") == std::string::npos ? ".weight" : "");
}

bool is_transposed(const std::string& name) {
  return name.ends_with("lora_B") || name.ends_with("lora_embedding_B");
}

constexpr double kDropout = 0.3;

std::unique_ptr<adapter::AdapterSet> read_adapter(const std::filesystem::path& folder,
                                                  const model::LanguageModel& model, double dropout) {
  adapter::AdapterConfig config = train::stored_adapter_config(folder);
  config.dropout = dropout;
  auto result = std::make_unique<adapter::AdapterSet>(config, model.layers(), RandomKey{0},
                                                      train::stored_added_tokens(folder, model));
  interop::load_adapter_into(*result, folder);
  result->refresh();
  return result;
}

/// The masks of every site for these samples, and the logits under them.
void add_masks(const model::LanguageModel& model, const adapter::Pack& pack, const at::Tensor& tokens, Output& output) {
  const at::Tensor inputs = tokens.narrow(1, 0, tokens.size(1) - 1).contiguous();
  for (const adapter::SitePlan& plan : pack.segments.front().adapters->plans()) {
    const adapter::Site& site = model.layers()[plan.site].site;
    if (plan.dropout == 0.0) {
      continue;
    }
    std::vector<RandomKey> keys;
    for (const RandomKey key : pack.segments.front().dropout_keys) {
      keys.push_back(key.child(site.name));
    }
    const at::Tensor mask = tensor::dropped_out(at::ones({inputs.numel(), site.in}), keys, kDropout);
    output.add("mask." + site.name, mask.view({inputs.size(0), inputs.size(1), site.in}), DType::kF32);
  }
  output.add("logits", objective::logits(model, inputs, pack).view({inputs.size(0), inputs.size(1), -1}), DType::kF32);
}

void write_gradients(const model::LanguageModel& model, adapter::AdapterSet& adapters, const at::Tensor& tokens,
                     const Arguments& arguments) {
  tensor::FlatSpace& space = adapters.space();
  const at::Tensor gradient = at::zeros({space.size()});
  space.bind_gradient(gradient);
  adapter::Pack pack = adapter::Pack::solo(&adapters, tokens.size(0));
  if (adapters.has_dropout()) {
    pack.segments.front().dropout_keys = adapter::dropout_keys(RandomKey{3}, 1, 0, tokens.size(0));
  }
  const auto targets = static_cast<double>(tokens.size(0) * (tokens.size(1) - 1));
  const objective::LossSums sums = objective::next_token_loss(model, data::TokenBatch::of_rows(tokens), pack,
                                                              {.divisor = targets, .backward = true});
  Output output;
  if (adapters.has_dropout()) {
    add_masks(model, pack, tokens, output);
  }
  output.add("loss", at::zeros({1}, at::kDouble).fill_(sums.loss_sum / targets), DType::kF64);
  for (const tensor::ParameterEntry& entry : space.entries()) {
    const at::Tensor part = tensor::FlatSpace::unpadded_part(gradient, entry);
    output.add(peft_name(entry), is_transposed(entry.name) ? part.t() : part, DType::kF32);
  }
  output.write(arguments.out);
}

void write_generation(const model::LanguageModel& model, const adapter::AdapterSet* adapters, const at::Tensor& tokens,
                      const Arguments& arguments) {
  const std::int64_t* first = tokens.const_data_ptr<std::int64_t>();
  const std::vector<std::int64_t> prompt(first, first + tokens.numel());
  Output output;
  for (const bool use_cache : {true, false}) {
    inference::GenerateOptions options;
    options.max_new_tokens = 24;
    options.use_cache = use_cache;
    inference::Generation text = inference::generate(model, adapters, prompt, options);
    const std::string suffix = use_cache ? "" : "_without_cache";
    const std::int64_t count = std::ssize(text.tokens);
    output.add("tokens" + suffix, at::from_blob(text.tokens.data(), {count}, at::kLong).clone(), DType::kI64);
    output.add("log_probabilities" + suffix, at::from_blob(text.log_probabilities.data(), {count}, at::kDouble).clone(),
               DType::kF64);
  }
  output.write(arguments.out);
}

void run(const Arguments& arguments) {
  const auto model = model::load_language_model(arguments.model, DType::kF32);
  const double dropout = arguments.command == "dropout" ? kDropout : 0.0;
  const auto adapters = arguments.adapter == "-" ? nullptr : read_adapter(arguments.adapter, *model, dropout);
  const at::Tensor tokens = read_array(arguments.tokens, "tokens", at::kLong);
  if (arguments.command == "logits") {
    const adapter::Pack pack = adapter::Pack::solo(adapters.get(), tokens.size(0));
    Output output;
    output.add("logits", objective::logits(*model, tokens, pack).view({tokens.size(0), tokens.size(1), -1}),
               DType::kF32);
    output.write(arguments.out);
  } else if (arguments.command == "gradients" || arguments.command == "dropout") {
    require(adapters != nullptr, Fault::kUsage, "gradients need an adapter");
    write_gradients(*model, *adapters, tokens, arguments);
  } else if (arguments.command == "generate") {
    write_generation(*model, adapters.get(), tokens, arguments);
  } else {
    fail(Fault::kUsage, "unknown command '{}'", arguments.command);
  }
}

}  // namespace
}  // namespace dormer

int main(int count, char** words) {
  if (count != 6) {
    std::fputs("usage: probe logits|gradients|dropout|generate MODEL ADAPTER|- TOKENS OUT\n", stderr);
    return static_cast<int>(dormer::Fault::kUsage);
  }
  try {
    dormer::run({.command = words[1], .model = words[2], .adapter = words[3], .tokens = words[4], .out = words[5]});
    return 0;
  } catch (const dormer::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return error.exit_code();
  }
}
