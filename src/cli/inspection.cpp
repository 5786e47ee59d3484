#include "cli/inspection.hpp"

#include <algorithm>

#include <fmt/ranges.h>

#include "cli/tally.hpp"
#include "cli/weight_files.hpp"
#include "dormer/data/token_set_facts.hpp"
#include "dormer/data/tokenizer_identity.hpp"
#include "dormer/model/language_model.hpp"
#include "dormer/report/run_record.hpp"
#include "dormer/storage/checkpoint.hpp"
#include "dormer/train/checkpoint_facts.hpp"

namespace dormer::cli {
namespace {

/// "model.layers.12.mlp.up_proj" without its block: "mlp.up_proj".
std::string place_in_block(const std::string& name) {
  std::size_t begin = 0;
  for (std::size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', begin)) {
    const std::string part = name.substr(begin, dot - begin);
    begin = dot + 1;
    if (!part.empty() && part.find_first_not_of("0123456789") == std::string::npos) {
      return name.substr(begin);
    }
  }
  return name;
}

}  // namespace

Inspection inspect_model(const std::filesystem::path& folder) {
  Weights weights;
  const storage::SafetensorsSet set = storage::SafetensorsSet::open_folder(folder);
  for (const auto& file : set.files()) {
    weights.add(*file);
  }
  // In the files' own dtype, so that nothing is converted.
  const DType dtype = weights.dtypes.contains(DType::kF32) ? DType::kF32 : DType::kBF16;
  const auto model = model::load_language_model(folder, dtype);
  const model::LanguageModelFacts& facts = model->facts();
  Inspection result{.title = fmt::format("a language model of the family {}", facts.family), .facts = {}, .lines = {}};
  const auto linear_layers = std::ranges::count_if(model->layers(), [](const adapter::FrozenLayer& layer) {
    return layer.site.group == "attention" || layer.site.group == "mlp";
  });
  result.facts = {{"size", fmt::format("{} blocks of width {}, a vocabulary of {}, {} positions", facts.blocks,
                                       facts.hidden, facts.vocabulary, facts.maximum_positions)},
                  {"weights", weights.text()},
                  {"linear layers", fmt::format("{} (targets: all-linear)", linear_layers)},
                  {"tokenizer", data::folder_tokenizer_sha256(folder).value_or("none (no tokenizer.json)")}};
  Tally tally;
  for (const adapter::FrozenLayer& layer : model->layers()) {
    tally.add(fmt::format("{:<22} {:<11} [{}, {}]{}", place_in_block(layer.site.name), layer.site.group, layer.site.out,
                          layer.site.in, layer.bias.defined() ? " with a bias" : ""));
  }
  result.lines = tally.lines();
  return result;
}

Inspection inspect_token_set(const std::filesystem::path& file) {
  const data::TokenSetFacts facts = data::token_set_facts(file);
  return {.title = "a token set (docs/token_dataset.md)",
          .facts = {{"tokens", fmt::format("{} in {} documents", facts.tokens, facts.documents)},
                    {"documents", fmt::format("{} to {} tokens, half of them up to {}", facts.shortest, facts.longest,
                                              facts.median)},
                    {"counted", facts.counted
                                    ? fmt::format("{} tokens ({:.1f}%) by the loss mask", *facts.counted,
                                                  100.0 * static_cast<double>(*facts.counted) /
                                                      static_cast<double>(std::max<std::int64_t>(facts.tokens, 1)))
                                    : "all tokens (no loss mask)"},
                    {"vocabulary", fmt::format("{}", facts.vocabulary)},
                    {"tokenizer", facts.tokenizer_sha256}},
          .lines = {}};
}

Inspection inspect_checkpoint(const std::filesystem::path& folder) {
  return {
      .title = "a checkpoint (dormer verify reads all of it)", .facts = train::checkpoint_facts(folder), .lines = {}};
}

Inspection inspect_run(const std::filesystem::path& folder) {
  const report::Run run = report::read_run(folder);
  Inspection result{.title = fmt::format("the run {}", run.record.name), .facts = {}, .lines = {}};
  if (!run.record.state.empty()) {
    result.facts.emplace_back("state", run.record.state);
  }
  if (!run.metrics.empty()) {
    result.facts.emplace_back("updates", fmt::format("{} in metrics.jsonl", run.metrics.back().step));
  }
  for (const storage::CheckpointPlace& place : storage::list_checkpoints(folder / "checkpoints")) {
    result.lines.push_back(fmt::format("checkpoint {}", place.folder.string()));
  }
  std::error_code absent;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "export", absent)) {
    if (entry.is_directory()) {
      result.lines.push_back(fmt::format("export     {}", entry.path().string()));
    }
  }
  return result;
}

}  // namespace dormer::cli
