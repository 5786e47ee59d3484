#include "train/startup.hpp"

#include <algorithm>
#include <filesystem>
#include <map>

#include <fmt/ranges.h>

#include "dormer/comm/gather.hpp"
#include "dormer/comm/mpi_module.hpp"
#include "dormer/core/error.hpp"
#include "dormer/core/log.hpp"
#include "dormer/data/tokenizer_identity.hpp"
#include "dormer/tensor/process.hpp"
#include "train/agreement.hpp"
#include "train/trial.hpp"

namespace dormer::train {
namespace {

template <typename T>
T parse_choice(const std::string& name, std::initializer_list<T> all, std::string_view (*name_of_choice)(T)) {
  const auto found = std::find_if(all.begin(), all.end(), [&](T choice) { return name_of_choice(choice) == name; });
  require(found != all.end(), Fault::kUsage,
          "'{}' is not known here: the run was begun by another version; choose another run.directory", name);
  return *found;
}

std::string stored_or(const Fingerprint* stored, const std::string& name, const std::string& otherwise) {
  return stored != nullptr && stored->contains(name) ? stored->at(name) : otherwise;
}

}  // namespace

NumericChoice choose_numerics(comm::Communicator& communicator, const RunConfig& config, const Placement& placement,
                              const Fingerprint* stored) {
  if (placement.gpu) {
    tensor::set_deterministic_kernels(config.run.deterministic);
  }
  const std::string dtype = agree_on_text(communicator, [&]() -> std::string {
    const std::string automatic = placement.gpu || tensor::cpu_has_bfloat16() ? "bfloat16" : "float32";
    return config.model.dtype == "auto" ? stored_or(stored, "dtype", automatic) : config.model.dtype;
  });
  const std::string path = agree_on_text(communicator, [&] {
    const std::string automatic(tensor::name_of(tensor::default_product_path()));
    return config.run.linear == "auto" ? stored_or(stored, "products", automatic) : config.run.linear;
  });
  NumericChoice choice;
  agree(communicator, [&] {
    choice.dtype = parse_choice(dtype, {DType::kF32, DType::kBF16, DType::kF16}, name_of);
    choice.path = parse_choice(path, {tensor::ProductPath::kPlain, tensor::ProductPath::kOneDnn}, tensor::name_of);
    if (choice.path == tensor::ProductPath::kOneDnn && tensor::default_product_path() != tensor::ProductPath::kOneDnn) {
      require(
          !config.run.exact, Fault::kUsage,
          "this LibTorch cannot multiply through oneDNN as the run's other ranks or lives do; use run.linear: plain "
          "in a new run, or run.exact: false to go on with other last bits");
      choice.path = tensor::ProductPath::kPlain;
    }
    tensor::set_product_path(choice.path);
  });
  return choice;
}

DType compute_dtype(const std::string& name, bool gpu) {
  if (name == "auto") {
    return gpu || tensor::cpu_has_bfloat16() ? DType::kBF16 : DType::kF32;
  }
  const std::optional<DType> dtype = dtype_from_name(name);
  require(dtype == DType::kF32 || dtype == DType::kBF16, Fault::kUsage,
          "the model cannot be computed in '{}'; use auto, float32 or bfloat16", name);
  return *dtype;
}

adapter::AddedTokensRequest added_tokens(const ModelSection& section, const model::LanguageModel& model,
                                         const std::filesystem::path& model_folder) {
  if (section.added_tokens != "train") {
    return {};
  }
  const std::optional<std::int64_t> tokens = data::folder_tokenizer_size(model_folder);
  require(
      tokens.has_value(), Fault::kUsage,
      "model.added_tokens: {} has no tokenizer.json, which says how many tokens there are; save the tokenizer there",
      model_folder.string());
  const std::int64_t vocabulary = model.facts().vocabulary;
  require(
      *tokens > vocabulary, Fault::kUsage,
      "model.added_tokens: the tokenizer in {} has {} tokens and the model rows for {}; there is nothing to add, take "
      "the key away",
      model_folder.string(), *tokens, vocabulary);
  const bool tied = model.head().name() == model.embedding().name();
  return {.count = *tokens - vocabulary,
          .embedding = model.embedding(),
          .head = tied ? tensor::BaseWeight() : model.head()};
}

data::TokenDatasetUse data_use(const RunConfig& config, const model::LanguageModel& model,
                               const std::filesystem::path& model_folder) {
  const DataSection& section = config.data;
  const std::map<std::string, data::Packing> packings{
      {"auto", data::Packing::kAuto}, {"blocks", data::Packing::kBlocks}, {"documents", data::Packing::kDocuments}};
  const std::map<std::string, data::LongDocuments> policies{{"truncate", data::LongDocuments::kTruncate},
                                                            {"drop", data::LongDocuments::kDrop},
                                                            {"error", data::LongDocuments::kError}};
  return {.sequence_length = section.sequence_length,
          .model_vocabulary = model.facts().vocabulary + added_tokens(config.model, model, model_folder).count,
          .tokenizer_sha256 = data::folder_tokenizer_sha256(model_folder),
          .packing = packings.at(section.packing),
          .too_long = policies.at(section.too_long)};
}

Fingerprint process_fingerprint(const RunConfig& config, const NumericChoice& numerics, const Placement& placement,
                                int ranks) {
  Fingerprint fingerprint{{"build", comm::mpi_build_id()},
                          {"library", tensor::library_fingerprint()},
                          {"cpu", tensor::cpu_fingerprint()},
                          {"device", placement.numbers},
                          {"threads", fmt::format("{}", config.run.threads)},
                          {"dtype", std::string(name_of(numerics.dtype))},
                          {"products", std::string(tensor::name_of(numerics.path))}};
  if (chosen_reduction(config, placement.gpu.has_value()) == parallel::Reduction::kFast) {
    fingerprint["ranks"] = fmt::format("{}", ranks);  // the fast sums depend on them
  }
  return fingerprint;
}

std::vector<std::string> introduce_ranks(comm::Communicator& communicator, const RunConfig& config,
                                         const Placement& placement, const Fingerprint& fingerprint) {
  const comm::Identity& self = communicator.identity();
  const std::string line = fmt::format("host {}, {}CPU ({}), {} thread{}, {}, {} products, {}, transport {}", self.host,
                                       placement.gpu ? placement.description + ", " : "", fingerprint.at("cpu"),
                                       config.run.threads, config.run.threads > 1 ? "s" : "", fingerprint.at("dtype"),
                                       fingerprint.at("products"), fingerprint.at("library"),
                                       placement.gpu && self.size > 1 ? self.transport + " and nccl" : self.transport);
  const std::vector<std::string> lines = comm::gather_texts(communicator, line);
  for (std::size_t rank = 0; rank < lines.size(); ++rank) {
    log::info("rank {} of {}: {}", rank, lines.size(), lines[rank]);
  }
  if (chosen_reduction(config, placement.gpu.has_value()) == parallel::Reduction::kExact && config.run.exact) {
    for (const char* name : {"cpu", "device", "library", "products"}) {
      require_equal(
          communicator, name, fingerprint.at(name),
          "the same bits are not possible so; use like machines, parallel.reduction: fast, or run.exact: false");
    }
  }
  return lines;
}

std::vector<std::string> require_resumable(const std::map<std::string, std::string>& stored_config,
                                           const std::map<std::string, std::string>& config, const Fingerprint& stored,
                                           const Fingerprint& current) {
  const ResumeComparison keys = compare_for_resume(stored_config, config);
  const FingerprintComparison numbers = compare(stored, current);
  std::vector<std::string> refused = keys.refused;
  refused.insert(refused.end(), numbers.refused.begin(), numbers.refused.end());
  require(refused.empty(), Fault::kUsage,
          "the run directory holds another experiment ({}); undo the change or choose another run.directory",
          fmt::join(refused, "; "));
  std::vector<std::string> inexact = keys.inexact;
  inexact.insert(inexact.end(), numbers.inexact.begin(), numbers.inexact.end());
  return inexact;
}

}  // namespace dormer::train
