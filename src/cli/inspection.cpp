#include "cli/inspection.hpp"

#include <map>
#include <set>
#include <tuple>

#include <fmt/ranges.h>

#include "dormer/data/token_set_facts.hpp"
#include "dormer/data/tokenizer_identity.hpp"
#include "dormer/interop/peft.hpp"
#include "dormer/model/language_model.hpp"
#include "dormer/report/run_record.hpp"
#include "dormer/storage/checkpoint.hpp"
#include "dormer/train/checkpoint_facts.hpp"

namespace dormer::cli {
namespace {

double mebibytes(std::uint64_t bytes) {
  return static_cast<double>(bytes) / (1024.0 * 1024.0);
}

std::int64_t elements(const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) {
    count *= size;
  }
  return count;
}

/// Numbers, bytes and dtypes of a folder's tensors.
struct Weights {
  std::int64_t count = 0;
  std::uint64_t bytes = 0;
  std::size_t files = 0;
  std::set<DType> dtypes;

  [[nodiscard]] std::string text() const {
    std::vector<std::string_view> names;
    for (const DType dtype : dtypes) {
      names.push_back(name_of(dtype));
    }
    return fmt::format("{} parameters in {}, {} file{}, {:.1f} MiB", count, fmt::join(names, " and "), files,
                       files == 1 ? "" : "s", mebibytes(bytes));
  }
};

void add_file(Weights& weights, const storage::SafetensorsFile& file) {
  ++weights.files;
  for (const storage::TensorEntry& entry : file.tensors()) {
    weights.count += elements(entry.shape);
    weights.bytes += entry.end - entry.begin;
    weights.dtypes.insert(entry.dtype);
  }
}

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

/// Equal descriptions with their number, in the order in which they first came.
class Tally {
 public:
  void add(const std::string& text) {
    if (counts_[text]++ == 0) {
      order_.push_back(text);
    }
  }
  [[nodiscard]] std::vector<std::string> lines() const {
    std::vector<std::string> result;
    for (const std::string& text : order_) {
      result.push_back(fmt::format("{:>4} x {}", counts_.at(text), text));
    }
    return result;
  }

 private:
  std::map<std::string, std::int64_t> counts_;
  std::vector<std::string> order_;
};

}  // namespace

Inspection inspect_model(const std::filesystem::path& folder) {
  Weights weights;
  const storage::SafetensorsSet set = storage::SafetensorsSet::open_folder(folder);
  for (const auto& file : set.files()) {
    add_file(weights, *file);
  }
  // In the files' own dtype, so that nothing is converted.
  const DType dtype = weights.dtypes.contains(DType::kF32) ? DType::kF32 : DType::kBF16;
  const auto model = model::load_language_model(folder, dtype);
  const model::LanguageModelFacts& facts = model->facts();
  Inspection result{.title = fmt::format("a language model of the family {}", facts.family), .facts = {}, .lines = {}};
  result.facts = {{"size", fmt::format("{} blocks of width {}, a vocabulary of {}, {} positions", facts.blocks,
                                       facts.hidden, facts.vocabulary, facts.maximum_positions)},
                  {"weights", weights.text()},
                  {"linear layers", fmt::format("{} (targets: all-linear)", model->layers().size())},
                  {"tokenizer", data::folder_tokenizer_sha256(folder).value_or("none (no tokenizer.json)")}};
  Tally tally;
  for (const adapter::FrozenLayer& layer : model->layers()) {
    tally.add(fmt::format("{:<22} {:<11} [{}, {}]{}", place_in_block(layer.site.name), layer.site.group, layer.site.out,
                          layer.site.in, layer.bias.defined() ? " with a bias" : ""));
  }
  result.lines = tally.lines();
  return result;
}

Inspection inspect_adapter(const std::filesystem::path& folder) {
  const interop::PeftAdapter adapter = interop::read_peft(folder);
  Weights weights;
  add_file(weights, *storage::SafetensorsFile::open(folder / "adapter_model.safetensors"));
  Inspection result{.title = adapter.decompose
                                 ? "a DoRA in PEFT's form: decompose.axis: output, one magnitude per output row"
                                 : "a LoRA in PEFT's form",
                    .facts = {{"weights", weights.text()},
                              {"layers", fmt::format("{}", adapter.layers.size() + adapter.modules.size())}},
                    .lines = {}};
  Tally tally;
  for (const auto& [name, layer] : adapter.layers) {
    tally.add(fmt::format("{:<22} [{}, {}] rank {}, alpha {}, scale {:.6g}", place_in_block(name), layer.out, layer.in,
                          layer.rank, layer.alpha, layer.scale));
  }
  for (const auto& [name, tokens] : adapter.tokens) {
    tally.add(fmt::format("{:<22} rows of {} tokens from {} on", name, tokens.indices.size(), tokens.indices.front()));
  }
  for (const auto& [name, module] : adapter.modules) {
    tally.add(fmt::format("{:<22} [{}] whole{}", place_in_block(name), fmt::join(module.shape, ", "),
                          module.bias.empty() ? "" : ", with its bias"));
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
